"""Symbols of phones to classes of manner: ARPAbet, IPA as dictionaries and aligners write it, SAMPA and X-SAMPA.

One letter means different sounds in different sets ("R" is a liquid in ARPAbet and a fricative in X-SAMPA), so a tier
is read in the set that knows most of its symbols. What no set knows, and what sets that fit equally well disagree
about, is listed and has no class.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

HEIGHTS = ("high vowel", "mid vowel", "low vowel")
PAUSE = "pause"
CLASSES = ("stop", "fricative", "affricate", "nasal", "liquid", "glide", *HEIGHTS, PAUSE)
"""Classes of symbols: manner of consonants (taps and trills are liquids), height of a vowel's beginning, silence."""


def words(text: str) -> frozenset[str]:
    """Words of a text."""
    return frozenset(text.split())


SILENCES = words(
    "sil sp ssil pau pause silence <sil> <sp> <p> <p:> <pau> <pause> <silence> <eps> <s> </s> (sil) (.) (..) (...) ..."
    " h# epi # _"
)
"""How aligners mark silence, beside an empty interval; in small letters."""


def _table(**symbols: str) -> dict[str, str]:
    return {symbol: name.replace("_", " ") for name, listed in symbols.items() for symbol in listed.split()}


ARPABET = _table(
    stop="P B T D K G Q BCL DCL GCL PCL TCL KCL",
    fricative="F V TH DH S Z SH ZH HH HV WH",
    affricate="CH JH",
    nasal="M N NG EM EN ENG NX",
    liquid="L R EL DX",
    glide="W Y",
    high_vowel="IY IH UW UH IX UX",
    mid_vowel="EH EY AH ER AO OW OY AX AXR AX-H",
    low_vowel="AE AA AW AY",
)
"""The set of the CMU dictionary and what TIMIT adds, without digits of stress."""

IPA_CONSONANTS = _table(
    stop="p b t d ʈ ɖ c ɟ k ɡ q ɢ ʔ ʡ ɓ ɗ ʄ ɠ ʛ",
    fricative="ɸ β f v θ ð s z ʃ ʒ ʂ ʐ ç ʝ x ɣ χ ʁ ħ ʕ h ɦ ɬ ɮ ɕ ʑ ʍ ʜ ʢ ɧ",
    nasal="m ɱ n ɳ ɲ ŋ ɴ",
    liquid="ʙ r ʀ ⱱ ɾ ɽ ɹ ɻ l ɭ ʎ ʟ ɺ ɫ",
    glide="ʋ j ɰ w ɥ",
)
IPA_VOWELS = _table(
    high_vowel="i y ɨ ʉ ɯ u ɪ ʏ ʊ ᵻ ᵿ",
    mid_vowel="e ø ɘ ɵ ɤ o ə ɚ ɛ œ ɜ ɝ ɞ ʌ ɔ",
    low_vowel="æ ɐ a ɶ ɑ ɒ",
)
_SIBLINGS = {"g": "ɡ", "ʦ": "ts", "ʣ": "dz", "ʧ": "tʃ", "ʤ": "dʒ", "ʨ": "tɕ", "ʥ": "dʑ", "ε": "ɛ", "ǝ": "ə"}
_AFFRICATES = words("ts dz tʃ dʒ tɕ dʑ tʂ dʐ ʈʂ ɖʐ pf bv pɸ bβ tθ dð cç ɟʝ kx ɡɣ qχ ɢʁ tɬ dɮ cʃ")
_DOUBLE = {"kp": "stop", "ɡb": "stop", "ŋm": "nasal"}
# Lengths, stresses, tones, and small raised letters: they change a sound, not its manner.
_MARKS = frozenset("ːˑˈˌ.ʰʱʲʷˠˤˀʼˡⁿᵐᵑᵝᵊˣ˞˥˦˧˨˩̯͜͡'’‿↗↘ꜛꜜ012345")

_PAIRS = r"""
p p  b b  t t  d d  t` ʈ  d` ɖ  c c  J\ ɟ  k k  g ɡ  q q  G\ ɢ  ? ʔ  >\ ʡ  p\ ɸ  B β  f f  v v  T θ  D ð
s s  z z  S ʃ  Z ʒ  s` ʂ  z` ʐ  C ç  j\ ʝ  x x  G ɣ  X χ  R ʁ  X\ ħ  ?\ ʕ  h h  h\ ɦ  K ɬ  K\ ɮ  s\ ɕ
z\ ʑ  W ʍ  H\ ʜ  <\ ʢ  x\ ɧ  m m  F ɱ  n n  n` ɳ  J ɲ  N ŋ  N\ ɴ  B\ ʙ  r r  R\ ʀ  4 ɾ  r` ɽ  r\ ɹ  r\` ɻ
l l  l` ɭ  L ʎ  L\ ʟ  l\ ɺ  5 ɫ  P ʋ  v\ ʋ  j j  M\ ɰ  w w  H ɥ  i i  y y  1 ɨ  } ʉ  M ɯ  u u  I ɪ  Y ʏ
U ʊ  I\ ᵻ  U\ ᵿ  e e  2 ø  @\ ɘ  8 ɵ  7 ɤ  o o  @ ə  E ɛ  9 œ  3 ɜ  3\ ɞ  V ʌ  O ɔ  { æ  6 ɐ  a a  & ɶ
A ɑ  Q ɒ  @` ɚ  3` ɝ  i\ ɨ  u\ ʉ  jj ʝ  &/ œ  U~/ œ
"""
X_SAMPA = dict(line.split() for line in _PAIRS.replace("  ", "\n").split("\n") if line)
"""X-SAMPA, and SAMPA within it, to IPA: jj is Spanish, two vowels before a slash are French."""

_KIEL = "the Kiel Corpus"
_OF_GERMAN = words("C OY pf y:")
"""Symbols of German SAMPA that no tier of English holds: beside them "Q" may be the glottal stop, as the corpus of
Kiel writes it, and not the vowel of X-SAMPA."""

_X_TOKEN = re.compile(
    "|".join(map(re.escape, sorted(X_SAMPA, key=len, reverse=True)))
    # A mark after a sound: length, stress, nasal, syllabic, rhotic, and what the table has behind an underscore; any
    # other underscore ties two sounds into one.
    + r"""|(?P<mark>_(?:\?\\|[<>=^+\-~}"/\\`0-9AaBcdeFGHhjkLlMmNnOoqRrTtvwXx])|:\\?|["%'~=`.\-|/]|<[RF]>)"""
    + r"|(?P<tie>_(?=[^_]))"
)


def _ipa(symbol: str) -> str | None:
    """Class of a symbol of the IPA."""
    letters = unicodedata.normalize("NFD", unicodedata.normalize("NFC", symbol).replace("ç", "\0"))
    bare = "".join(
        _SIBLINGS.get(c, c) for c in letters.replace("\0", "ç") if c not in _MARKS and not unicodedata.combining(c)
    )
    if not bare:
        return None
    first = bare[0]
    if (
        first in IPA_VOWELS
        and re.fullmatch(r"(.)(?!\1).{0,2}", bare)
        and all(c in IPA_VOWELS or c in "jwɥ" for c in bare)
    ):
        return IPA_VOWELS[first]
    if len(bare) in (2, 3) and {first, bare[1]} <= set(IPA_CONSONANTS):
        # A long affricate is written with its stop or its fricative twice.
        once = re.sub(r"([^ʔ])\1", r"\1", bare)
        if once in _AFFRICATES:
            return "affricate"
        if bare in _DOUBLE:
            return _DOUBLE[bare]
        bare = once
    return IPA_CONSONANTS.get(bare)


def _x_sampa(symbol: str) -> str | None:
    """Class of a symbol of X-SAMPA."""
    at, letters = 0, ""
    while at < len(symbol):
        found = _X_TOKEN.match(symbol, at)
        if not found:
            return None
        letters += "" if found["mark"] or found["tie"] else X_SAMPA[found[0]]
        at = found.end()
    return _ipa(letters)


def _arpabet(symbol: str) -> str | None:
    """Class of a symbol of ARPAbet, with its stress, in large or in small letters."""
    if symbol not in (symbol.upper(), symbol.lower()):
        return None
    return ARPABET.get(re.sub(r"[012]$", "", symbol.upper()))


SETS = {"ARPAbet": _arpabet, "IPA": _ipa, "X-SAMPA": _x_sampa}
"""Sets of symbols: functions of a symbol to its class, None for one that the set has not."""


def plain(label: str) -> str:
    """A label without what aligners write around it: blanks, slashes, brackets, Kaldi's place in the word.

    >>> plain(" AA1_B "), plain("/t/"), plain("[tʰ]")
    ('AA1_B', 't', 'tʰ')
    """
    text = unicodedata.normalize("NFC", label.strip())
    return text[1:-1].strip() if len(text) > 2 and text[0] + text[-1] in ("//", "[]") else text


def is_silence(label: str, word: bool = False) -> bool:
    """Whether a label of a phone, or of a word, marks silence: "pause" and "silence" are words that people say.

    >>> is_silence("pause"), is_silence("pause", word=True), is_silence("sil", word=True)
    (True, False, True)
    """
    said = plain(label).lower()
    return not label.strip() or (said in SILENCES and not (word and said in ("pause", "silence")))


@cache
def class_in(alphabet: str, label: str) -> str | None:
    """Class of a label in one of SETS; None for what the set does not know.

    >>> class_in("ARPAbet", "R"), class_in("X-SAMPA", "R"), class_in("IPA", "tʃʰ"), class_in("IPA", "spn")
    ('liquid', 'fricative', 'affricate', None)
    """
    if is_silence(label):
        return PAUSE
    symbol = plain(label)
    return SETS[alphabet](symbol) or SETS[alphabet](re.sub(r"_[BIES]$", "", symbol))


@dataclass(frozen=True)
class Reading:
    """How labels were read.

    Args:
        classes: class of every label that has one.
        alphabets: sets that know most of the labels, equally many.
        unknown: labels that none of these has, sorted.
        ambiguous: labels that these sets read as different classes, sorted.
    """

    classes: dict[str, str]
    alphabets: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = field(default=())

    def words(self) -> str:
        """What has no class, in a sentence; "" where all have one."""
        said = []
        if self.unknown:
            said.append(f"Symbols that are not known and have no class: {_listed(self.unknown)}.")
        if self.ambiguous:
            said.append(
                f"Symbols that {' and '.join(self.alphabets)} read differently and that have no class:"
                f" {_listed(self.ambiguous)}."
            )
        return " ".join(said)


def _listed(labels: tuple[str, ...], most: int = 20) -> str:
    shown = ", ".join(f"'{label[:30]}'" for label in labels[:most])
    return shown if len(labels) <= most else f"{shown} and {len(labels) - most} more"


def read(labels: Iterable[str]) -> Reading:
    """Read the labels of one tier, or of all tiers that were made alike, in the set that knows most of them.

    Args:
        labels: of phones; silence and repetitions may be among them.
    """
    distinct = sorted({label for label in labels if not is_silence(label)})
    found = {name: {label: class_in(name, label) for label in distinct} for name in SETS}
    n_known = {name: sum(c is not None for c in classes.values()) for name, classes in found.items()}
    best = tuple(name for name in SETS if n_known[name] == max(n_known.values()))
    if best == ("X-SAMPA",) and "Q" in distinct and _OF_GERMAN & set(distinct):
        best = ("X-SAMPA", _KIEL)
        found[_KIEL] = {**found["X-SAMPA"], "Q": "stop"}
    classes: dict[str, str] = {}
    unknown: list[str] = []
    ambiguous: list[str] = []
    for label in distinct:
        meant = {known for name in best if (known := found[name][label]) is not None}
        if len(meant) == 1:
            classes[label] = meant.pop()
        else:
            (ambiguous if meant else unknown).append(label)
    return Reading(classes, best, tuple(unknown), tuple(ambiguous))
