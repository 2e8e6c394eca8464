"""Where the words and phones of a transcript lie in a recording: forced alignment of English by PocketSphinx.

Two passes: words with the pauses and pronunciations that fit best, then the phones of those words. PocketSphinx brings
its acoustic model and its dictionary; a word that is not in it is spoken by eSpeak NG where that is installed, or else
left out, and said.
"""

from __future__ import annotations

import ctypes
import importlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from speechxai.data.textgrid import write_tiers
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.signal.audio import resample
from speechxai.types import Recording

EXTRA = "align"
RATE_HZ, FRAME_S = 16_000, 0.01
_BEAMS = (1e-48, 1e-120, 1e-300)
"""How unlikely a path may become; wider ones take longer and find what the first one lost."""
_CENTER_S = 0.0078
"""From a frame's number to the time where it begins: the window of 25.6 ms is centered half of it after its start."""
_NATS = 1024 * 1e-4
"""Of the acoustic model's scores."""
DOUBTFUL, UNFIT = -6.0, -5.0
"""Mean score of a phone's frames, and of all of them, below which it hardly fits, nats. Of 18 synthetic sentences and
two read ones true transcripts reach -4.0 to -2.0, and those of other sentences -10 to -7.5."""


@dataclass(frozen=True)
class Phone:
    """A phone of a word, or "" where nobody speaks.

    Args:
        symbol: ARPAbet without stress; "spn" of a noise.
        start_s, end_s: where.
        score: mean acoustic score of its frames, nats; near 0 is sure.
    """

    symbol: str
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class Alignment:
    """Words and phones of a recording.

    Args:
        words: (start, end, word), s.
        phones: in order, pauses included.
        spelled: words that are not in the dictionary, with the phones that eSpeak NG says.
        left_out: words that nothing says how to speak.
        n_tries: beams that were tried, 1 to 3.
        duration_s: of the recording.
    """

    words: tuple[tuple[float, float, str], ...]
    phones: tuple[Phone, ...]
    spelled: dict[str, str]
    left_out: tuple[str, ...]
    n_tries: int
    duration_s: float

    @property
    def spoken(self) -> tuple[Phone, ...]:
        """Phones without pauses and noises."""
        return tuple(phone for phone in self.phones if phone.symbol not in ("", "spn"))

    @property
    def score(self) -> float:
        """Mean score of all frames of speech, nats."""
        weights = [phone.end_s - phone.start_s for phone in self.spoken]
        return float(np.average([phone.score for phone in self.spoken], weights=weights))

    @property
    def doubtful(self) -> tuple[Phone, ...]:
        """Phones that hardly sound like themselves."""
        return tuple(phone for phone in self.spoken if phone.score < DOUBTFUL)

    def textgrid(self) -> str:
        """Tiers "words" and "phones" for Praat."""
        phones = [(phone.start_s, phone.end_s, phone.symbol) for phone in self.phones]
        return write_tiers([("words", self.words), ("phones", phones)], self.duration_s)


def words_of(transcript: str) -> list[str]:
    """Words of a text as the dictionary writes them: small letters and apostrophes, digits as they are.

    >>> words_of("The sun's (18) rays -- well-known!")
    ['the', "sun's", '18', 'rays', 'well', 'known']
    """
    text = unicodedata.normalize("NFC", transcript).lower().replace("\u2019", "'")
    found = (word.strip("'") for word in re.findall(r"[^\W_]+(?:'[^\W_]+)*'?", text))
    return [word for word in found if word]


def _package(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SpeechXAIError(f"{what} is not installed: pip install 'speechxai[{EXTRA}]'.") from error


# ---- words that the dictionary does not have
_ARPABET = {
    **{"ə": "AH", "ɐ": "AH", "ʌ": "AH", "ɪ": "IH", "ᵻ": "IH", "i": "IY", "ɛ": "EH", "e": "EH", "æ": "AE", "a": "AA"},
    **{"ɑ": "AA", "ɒ": "AA", "ɔ": "AO", "o": "AO", "ʊ": "UH", "u": "UW", "ɜ": "ER", "ɚ": "ER", "ɝ": "ER"},
    **{"eɪ": "EY", "aɪ": "AY", "ɔɪ": "OY", "aʊ": "AW", "oʊ": "OW", "əʊ": "OW", "iə": "IY AH", "aɪə": "AY AH"},
    **{"əl": "AH L", "n̩": "AH N", "l̩": "AH L", "m̩": "AH M", "aɪɚ": "AY ER", "ɪɹ": "IH R", "ɛɹ": "EH R", "ʊɹ": "UH R"},
    **{"ɑɹ": "AA R", "ɔɹ": "AO R", "oɹ": "AO R", "p": "P", "b": "B", "t": "T", "d": "D", "k": "K", "ɡ": "G", "ɾ": "T"},
    **{"ʔ": "T", "f": "F", "v": "V", "θ": "TH", "ð": "DH", "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "h": "HH"},
    **{"x": "K", "ç": "HH", "tʃ": "CH", "dʒ": "JH", "m": "M", "n": "N", "ŋ": "NG", "l": "L", "ɬ": "L", "ɹ": "R"},
    **{"r": "R", "w": "W", "ʍ": "W", "j": "Y"},
}
"""IPA as eSpeak NG writes American English, lengths and stresses put aside, to the phones of the acoustic model."""


def arpabet(ipa: str) -> str | None:
    """Phones of the acoustic model for the IPA of a word, whose phonemes are parted by "_"; None where one has none.

    >>> arpabet("ˈeɪ_t_iː_n"), arpabet("w_ˈɔː_ɾ_ɚ")
    ('EY T IY N', 'W AO T ER')
    """
    found = []
    for phoneme in re.split(r"[_\s]+", re.sub(r"[ˈˌː‍\u02d0-]|\(\w+\)", "", ipa)):
        if phoneme:
            found.append(_ARPABET.get(phoneme, ""))
    return " ".join(found) if found and all(found) else None


@cache
def _espeak() -> Any:
    """The library of eSpeak NG, ready for American English; None where it is not installed."""
    try:
        loader = importlib.import_module("espeakng_loader")
        library = ctypes.CDLL(loader.get_library_path())
        retrieval = 1  # no sound is played
        if library.espeak_Initialize(retrieval, 0, loader.get_data_path().encode(), 0) < 0:
            return None
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        return library if library.espeak_SetVoiceByName(b"en-us") == 0 else None
    except (ImportError, OSError, RuntimeError):
        return None


def spoken_as(word: str) -> str | None:
    """How eSpeak NG says an English word or number, as phones of the acoustic model; None where it is not installed."""
    library = _espeak()
    if library is None:
        return None
    text = ctypes.c_char_p(word.encode())
    utf8, ipa = 1, 0x02
    said = library.espeak_TextToPhonemes(ctypes.byref(text), utf8, ipa | ord("_") << 8)
    return arpabet(said.decode("utf-8", "replace")) if said else None


# ---- the alignment
def align(recording: Recording, transcript: str) -> Alignment:
    """Align a recording with what is said in it.

    Args:
        recording: English speech, 16 kHz or more for the model that is there; at another rate it is resampled.
        transcript: its words; case, punctuation and line ends do not matter.

    Raises:
        SpeechXAIError: PocketSphinx is not installed, or nothing of the transcript can be spoken.
        NotApplicable: a silent recording, or one in which the words are not found one after the other, even with the
            widest beam.
    """
    sphinx = _package("pocketsphinx", "PocketSphinx, which aligns,")
    wanted = words_of(transcript)
    if not wanted:
        raise SpeechXAIError(f"{recording.id}: the transcript has no words.")
    samples = resample(recording.waveform.double().numpy(), recording.sample_rate, RATE_HZ)
    loudest = float(np.abs(samples).max())
    if loudest == 0:
        raise NotApplicable(f"{recording.id}: the recording is silent.")
    sound = np.round(samples / loudest * 0.9 * 32767).astype("<i2").tobytes()
    spelled: dict[str, str] = {}
    for n_tries, beam in enumerate(_BEAMS, start=1):
        decoder = sphinx.Decoder(lm=None, bestpath=False, beam=beam, pbeam=beam, wbeam=beam, loglevel="FATAL")
        known, left_out = _known(decoder, wanted, spelled)
        if not known:
            raise SpeechXAIError(
                f"{recording.id}: no word of the transcript is in the dictionary: {', '.join(wanted[:5])}. It must be"
                " English."
            )
        decoder.set_align_text(" ".join(known))
        _hear(decoder, sound)
        if decoder.hyp() is None:
            continue
        try:
            decoder.set_alignment()
        except RuntimeError:
            continue
        _hear(decoder, sound)
        found = decoder.get_alignment()
        if found is not None:
            words, phones = _read(found, recording.duration_s)
            return Alignment(words, phones, spelled, left_out, n_tries, recording.duration_s)
    raise NotApplicable(
        f"{recording.id}: the words of the transcript were not found one after the other. Does it say what is spoken?"
    )


def _known(decoder: Any, wanted: Sequence[str], spelled: dict[str, str]) -> tuple[list[str], tuple[str, ...]]:
    """Words that the decoder can speak; what eSpeak NG says of others is added to it, and to `spelled`."""
    known, left_out = [], []
    for word in wanted:
        if decoder.lookup_word(word) is None:
            said = spelled.get(word) or spoken_as(word)
            if said is None:
                left_out.append(word)
                continue
            spelled[word] = said
            decoder.add_word(word, said, True)
        known.append(word)
    return known, tuple(dict.fromkeys(left_out))


def _hear(decoder: Any, sound: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()


def _read(found: Any, duration_s: float) -> tuple[tuple[tuple[float, float, str], ...], tuple[Phone, ...]]:
    """Words and phones of an alignment, in seconds; the first begins and the last ends with the recording."""
    rows = [
        (word.name, phone.name, phone.start, phone.duration, phone.score * _NATS / max(phone.duration, 1))
        for word in found
        for phone in word
    ]
    last = max(start + length for _, _, start, length, _ in rows)

    def time_of(frame: int) -> float:
        return 0.0 if frame <= 0 else duration_s if frame >= last else min(duration_s, frame * FRAME_S + _CENTER_S)

    phones = []
    for _, symbol, start, length, score in rows:
        name = "" if symbol == "SIL" else "spn" if symbol.startswith("+") else symbol
        if time_of(start + length) > time_of(start):
            phones.append(Phone(name, time_of(start), time_of(start + length), score))
    words = []
    for word in found:
        if word.name[0] not in "<[+(":
            start, end = time_of(word.start), time_of(word.start + word.duration)
            words.append((start, end, re.sub(r"\(\d+\)$", "", word.name)))
    return tuple(words), tuple(phones)
