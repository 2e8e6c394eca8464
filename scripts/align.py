"""How far off are the boundaries of the aligner? Measured where they are known.

    python scripts/align.py                          18 sentences of eSpeak NG in three voices and 18 phrases of
                                                     the house's synthesizer, whose events are known
    python scripts/align.py --voices FOLDER          recordings as well, with Whisper's transcripts: energy and voicing

Prints median and 90th percentile of the error of word onsets and of phones to the nearest known boundary, and how many
sentences were not aligned; of recordings the share of stops that hold a closure and of vowels that are voiced, beside
the same of TextGrids that are moved by 0.3 s.
"""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from speechxai.classifiers.whisper import transcript
from speechxai.data.synthetic import draw_speaker, render
from speechxai.data.voice_model import UtteranceSettings
from speechxai.errors import NotApplicable
from speechxai.signal.acoustics import VOICED, energy_db, segments_by_voicing
from speechxai.signal.audio import files_under, read_audio, resample
from speechxai.types import Array, Recording
from speechxai.units.align import Alignment, align, words_of
from speechxai.units.symbols import class_in

VOICES = ("en-us", "en-us+f3", "en-us+m7")
SENTENCES = (
    "The clock on the kitchen wall stopped at ten.",
    "Bring the blue bucket back to the boat.",
    "A cold wind blew dust across the empty road.",
    "Her brother keeps two dogs and a grey cat.",
    "They baked bread and potatoes before dinner.",
    "The doctor asked him to count from one to ten.",
    "Take the path that goes down to the river.",
    "Peter carried a heavy bag of apples home.",
    "We could not open the old garden gate.",
    "The train to the city leaves at half past eight.",
    "Put a cup of sugar and some butter in the bowl.",
    "Children like to play outside when the sun shines.",
    "Please call back before the end of the week.",
    "The captain told a story about a giant fish.",
    "Dark clouds gathered above the quiet valley.",
    "She bought a ticket and waited by the door.",
    "The teacher wrote a question on the board.",
    "Good coffee takes time and a little care.",
)
EDGE_S, NOISE = 0.2, 1e-4
SPELLED = {
    **{"pa": "pah", "pe": "pay", "pi": "pee", "po": "poe", "pu": "pooh"},
    **{"ta": "tah", "te": "tay", "ti": "tee", "to": "toe", "tu": "too"},
    **{"ka": "kah", "ke": "kay", "ki": "key", "ko": "coe", "ku": "coo"},
    **{"sa": "sah", "se": "say", "si": "see", "so": "so", "su": "sue"},
    **{"ma": "mah", "me": "may", "mi": "me", "mo": "mow", "mu": "moo"},
}
"""English for the syllables that the house's synthesizer says."""
N_PHRASES, PHRASE_S = 18, 4.0
MOVED_S = 0.3


class _Event(ctypes.Structure):
    """An event of eSpeak NG, as its header `speak_lib.h` lays it out."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("string", ctypes.c_char * 8),
    ]


_WORD, _PHONEME = 1, 7


def spoken(sentence: str, voice: str, seed: int) -> tuple[Recording, dict[int, float], Array]:
    """A sentence of eSpeak NG between silent edges: the recording, onsets of words by the place of their first letter,
    s, and all boundaries of phonemes, s."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(1, 0, espeakng_loader.get_data_path().encode(), 1)
    parts: list[Array] = []
    words: dict[int, float] = {}
    phonemes: list[float] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
    def take(samples, n_samples, events) -> int:  # type: ignore[no-untyped-def]
        if n_samples > 0:
            parts.append(np.ctypeslib.as_array(samples, shape=(n_samples,)).copy())
        place = 0
        while events[place].type:
            event = events[place]
            if event.type == _WORD:
                words[event.text_position - 1] = EDGE_S + event.sample / rate
            elif event.type == _PHONEME:
                phonemes.append(EDGE_S + event.sample / rate)
            place += 1
        return 0

    library.espeak_SetSynthCallback(take)
    library.espeak_SetVoiceByName(voice.encode())
    text = sentence.encode() + b"\0"
    library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, 1, None, None)
    library.espeak_Synchronize()
    edge = np.zeros(round(EDGE_S * rate))
    sound = np.concatenate([edge, np.concatenate(parts) / 32768.0, edge])
    sound = 0.5 * sound / np.abs(sound).max() + NOISE * np.random.default_rng(seed).standard_normal(len(sound))
    waveform = torch.from_numpy(resample(sound, rate, 16_000)).float()
    return Recording(waveform, 16_000, f"{voice} {sentence[:20]}", "espeak", None), words, np.array(phonemes)


def places_of(sentence: str) -> list[int]:
    """Where each word of a sentence begins, in letters."""
    found, at = [], 0
    for word in words_of(sentence):
        at = sentence.lower().index(word, at)
        found.append(at)
        at += len(word)
    return found


def errors_of(found: Alignment, sentence: str, words: dict[int, float], phonemes: Array) -> tuple[list[float], ...]:
    """Errors of word onsets, and of phones to the nearest boundary, s; words that eSpeak NG joined have no onset."""
    onsets = [
        start - words[place]
        for place, (start, _, _) in zip(places_of(sentence), found.words, strict=True)
        if place in words
    ]
    to_nearest = [float((d := phone.start_s - phonemes)[np.abs(d).argmin()]) for phone in found.spoken]
    return onsets, to_nearest


Known = tuple[Recording, str, dict[int, float], Array]
"""A recording, its words, their onsets by the place of their first letter, all boundaries."""


def syllables(seed: int) -> Known:
    """A phrase of the house's synthesizer as `spoken` returns one, and its words."""
    name = f"synthetic/align-{seed:02d}"
    generator = np.random.default_rng([seed, 5])
    speaker = draw_speaker(name, "FM"[seed % 2], int(generator.integers(48, 82)), generator)
    made = render(speaker, UtteranceSettings("phrase", PHRASE_S), seed)
    words: dict[int, float] = {}
    text, first = "", ""
    for event in made.events:
        if event.kind in ("closure", "nasal", "fricative"):
            first, start_s = event.name, event.start_s
        elif event.kind == "vowel":
            text += " " * bool(text)
            words[len(text)] = start_s
            text += SPELLED[first + event.name]
    edges = np.array(sorted({t for event in made.events for t in (event.start_s, event.end_s)}))
    return Recording(made.waveform, made.sample_rate, name, name, None), text, words, edges


def on_synthetic_speech() -> None:
    """Print errors at known boundaries."""
    for voice in VOICES:
        _print_errors(voice, (with_text(*spoken(text, voice, seed), text) for seed, text in enumerate(SENTENCES)))
    _print_errors("the house's synthesizer", (syllables(seed) for seed in range(N_PHRASES)))


def with_text(recording: Recording, words: dict[int, float], edges: Array, text: str) -> Known:
    """In the order of `syllables`."""
    return recording, text, words, edges


def _print_errors(voice: str, known: Iterable[Known]) -> None:
    onsets: list[float] = []
    nearest: list[float] = []
    n, failed, tries = 0, 0, []
    for recording, sentence, words, phonemes in known:  # one after the other: eSpeak NG hears and speaks in turn
        n += 1
        try:
            found = align(recording, sentence)
        except NotApplicable:
            failed += 1
            continue
        tries.append(found.n_tries)
        some = errors_of(found, sentence, words, phonemes)
        onsets += some[0]
        nearest += some[1]
    for name, values in (("word onsets", onsets), ("phones", nearest)):
        size = 1000 * np.abs(values)
        print(
            f"{voice}: {name}: {len(size)}, median error {np.median(size):.1f} ms, 90 % within"
            f" {np.quantile(size, 0.9):.0f} ms, on average {1000 * np.median(values):+.1f} ms"
        )
    print(f"{voice}: not aligned {failed} of {n}; wider beams {sum(n > 1 for n in tries)}")


def shares(recording: Recording, found: Alignment, moved_s: float = 0.0) -> tuple[list[bool], list[bool]]:
    """Of each stop whether it holds a closure, 10 dB under the speech around it; of each vowel whether it is voiced for
    half of it."""
    rate = recording.sample_rate
    hop = round(0.005 * rate)
    n_frames = recording.waveform.shape[0] // hop + 1
    kinds = segments_by_voicing(recording.waveform, rate, n_frames, hop)
    level = energy_db(recording.waveform.double().numpy(), rate, hop, n_frames)
    closed, voiced = [], []
    for phone in found.spoken:
        first, last = (round((t + moved_s) * rate / hop) for t in (phone.start_s, phone.end_s))
        if first < 0 or last > n_frames or last <= first:
            continue
        kind = class_in("ARPAbet", phone.symbol) or ""
        if kind == "stop":
            around = level[max(0, first - 20) : last + 20]
            closed.append(bool(level[first:last].min() < around.max() - 10))
        elif kind.endswith("vowel"):
            voiced.append(bool((kinds[first:last] == VOICED).mean() >= 0.5))
    return closed, voiced


def on_recordings(folder: Path) -> None:
    """Print shares of closures and voicing where Whisper says what is spoken."""
    closed: dict[float, list[bool]] = {0.0: [], MOVED_S: []}
    voiced: dict[float, list[bool]] = {0.0: [], MOVED_S: []}
    for name in files_under(folder):
        recording = read_audio(folder / name)
        try:
            found = align(recording, transcript(recording))
        except NotApplicable as error:
            print(f"{name}: not aligned: {error}")
            continue
        print(
            f"{name}: {len(found.words)} words, {len(found.spoken)} phones, score {found.score:.1f}, doubtful"
            f" {len(found.doubtful)}, beam {found.n_tries}"
        )
        for moved_s in closed:
            a, b = shares(recording, found, moved_s)
            closed[moved_s] += a
            voiced[moved_s] += b
    for moved_s, words in ((0.0, "as aligned"), (MOVED_S, f"moved by {MOVED_S} s")):
        print(
            f"{words}: {np.mean(closed[moved_s]):.0%} of {len(closed[moved_s])} stops hold a closure,"
            f" {np.mean(voiced[moved_s]):.0%} of {len(voiced[moved_s])} vowels are voiced"
        )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=Path, help="folder of English recordings")
    given = parser.parse_args()
    on_synthetic_speech()
    if given.voices is not None:
        on_recordings(given.voices)


if __name__ == "__main__":
    main()
