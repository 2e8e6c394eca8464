"""Every symbol of ARPAbet, of the IPA's chart, of X-SAMPA and of aligners has exactly one class; others have none."""

from __future__ import annotations

import pytest

from speechxai.units.symbols import (
    ARPABET,
    CLASSES,
    IPA_CONSONANTS,
    IPA_VOWELS,
    PAUSE,
    SETS,
    SILENCES,
    X_SAMPA,
    class_in,
    is_silence,
    read,
    words,
)

CMU = words("AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH")
CHART = {
    "stop": "p b t d ʈ ɖ c ɟ k ɡ q ɢ ʔ",
    "nasal": "m ɱ n ɳ ɲ ŋ ɴ",
    "liquid": "ʙ r ʀ ⱱ ɾ ɽ l ɭ ʎ ʟ ɹ ɻ",
    "fricative": "ɸ β f v θ ð s z ʃ ʒ ʂ ʐ ç ʝ x ɣ χ ʁ ħ ʕ h ɦ ɬ ɮ",
    "glide": "ʋ j ɰ",
}
"""Pulmonic consonants by row: plosives; nasals; trills, taps, laterals, and the approximants that are r; (lateral)
fricatives; other approximants."""
VOWELS = {
    "high vowel": "i y ɨ ʉ ɯ u ɪ ʏ ʊ",
    "mid vowel": "e ø ɘ ɵ ɤ o ə ɛ œ ɜ ɞ ʌ ɔ",
    "low vowel": "æ ɐ a ɶ ɑ ɒ",
}
MFA = {
    "stop": "pʰ tʰ kʰ pʲ tʷ cʰ kʷ t̪ d̪ ʔ tː kp ɡb",
    "affricate": "tʃ dʒ t͡s ts dz tɕ ʈʂ pf tʃː t̚s",
    "nasal": "ɲ mʲ n̩ m̩ ŋ",
    "liquid": "ɫ ɫ̩ ɾʲ ɾ̃ r ɹ",
    "glide": "w j ʋ",
    "high vowel": "iː ʉː ʊ ũ",
    "mid vowel": "ej ow əw ɔj ɝ ɚ ɔ̃",
    "low vowel": "aj aw ɑː ɐ æː ã",
}
MAUS = {
    "stop": "p t k g ? t_h",
    "affricate": "ts tS dZ pf",
    "fricative": "C x R S Z h",
    "nasal": "N m= n=",
    "liquid": "l r l=",
    "high vowel": "i: I y: Y u: U",
    "mid vowel": "e: E: E 2: 9 o: O @ OY",
    "low vowel": "a a: aI aU 6 a~ Q {",
}

TIMIT = words(
    "iy ih eh ey ae aa aw ay ah ao oy ow uh uw ux er ax ix axr ax-h jh ch s sh z zh f th v dh m n ng em en eng nx b d g"
    " p t k dx q bcl dcl gcl pcl tcl kcl l r w y hh hv el"
)
"""The 61 symbols of TIMIT without its three of silence, pau, epi and h#."""
TABLE_OF_X_SAMPA = r"""
a b b_< c d d` d_< e f g g_< h h\ i j j\ k l l` l\ m n n` o p p\ q r r` r\ r\` s s` s\ t t` u v v\ w x x\ y z z` z\
A B B\ C D E F G G\ G\_< H H\ I I\ J J\ J\_< K K\ L L\ M M\ N N\ O P Q R R\ S T U U\ V W X X\ Y Z
1 2 3 3\ 4 5 6 7 8 9 @ @\ { } & ? ?\ <\ >\
"""
"""Every sound of X-SAMPA but its five clicks."""
MARKS_OF_X_SAMPA = r"""
_" _+ _- _/ _0 _< _= _> _?\ _\ _^ _} ` _~ _A _a _B _c _d _e _F _G _H _h _j _k _L _l _M _m _N _n _O _o _q _R _R_F _r _T
_t _v _w _X _x = ~ ' : :\
"""
SAMPA = {
    "stop": "p b t d k g ? kk bb",
    "fricative": "T D B G s z S Z f v x h C jj ss W",
    "affricate": "ts tS dz dZ pf tts ttS ddz ddZ t_s t_S d_z d_Z t_s\\",
    "nasal": "m n J N JJ n= F",
    "liquid": "l r rr L 5 l= R\\",
    "glide": "j w H",
    "high vowel": "i I u U y Y i: u: y: I@ U@ 1 }",
    "mid vowel": "e E o O @ 2 9 3: eI OI @U e@ e~ 9~ o~ Ei 9y e/ o/ &/ U~/ OY",
    "low vowel": "a A { Q 6 a~ A/ aI aU Au aI@ a: A:",
}
"""SAMPA of Danish, Dutch, English, French, German, Italian, Polish, Portuguese, Spanish."""
OTHER_MFA = {
    "stop": "pʼ t͈ p͈ k̚ ɟʷ ɖʱ ʈʷ ɓ ᵐb ⁿd ᵑɡ",
    "affricate": "tɕ͈ ʈʂʰ dʑ tsː dzː tʃʰ dʒʱ tʃʼ",
    "fricative": "ɕ ʑ z̩ ʐ̩ fʲ vʷ ɸʲ sʼ ʍ",
    "nasal": "ɴː ŋ̍ ɲː mʲː",
    "liquid": "ɹ̩ ʎː ɽʱ r̝ l̩",
    "glide": "ɰᵝ ɰ̃ j̃ w̃ ɥ",
    "high vowel": "ɨ̥ ɯᵝ iə˦ uə˨˩ ɨəj i˥˩",
    "mid vowel": "ej˥ ow˧˥ oːj ə̯ ɛ̃",
    "low vowel": "aj˨˩˦ a˥˩ ɐ̃",
}
"""Of the aligner's dictionaries of Japanese, Korean, Mandarin, Vietnamese, Hausa, Hindi, Swahili, Ukrainian."""


def pairs(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(symbol, name) for name, listed in table.items() for symbol in listed.split()]


def test_tables_hold_classes_and_no_symbol_twice() -> None:
    for table in (ARPABET, IPA_CONSONANTS, IPA_VOWELS):
        assert set(table.values()) <= set(CLASSES)
    assert not set(IPA_CONSONANTS) & set(IPA_VOWELS)
    assert len(CMU) == 39
    assert set(ARPABET) > CMU


@pytest.mark.parametrize("phone", sorted(CMU))
def test_cmu_with_every_stress_and_in_small_letters(phone: str) -> None:
    names = {class_in("ARPAbet", f"{form}{stress}") for form in (phone, phone.lower()) for stress in ("", *"012")}
    assert len(names) == 1
    assert names <= set(CLASSES) - {PAUSE}
    assert class_in("ARPAbet", f"{phone}_B") in names


@pytest.mark.parametrize(("symbol", "name"), pairs(CHART) + pairs(VOWELS))
def test_chart_of_the_ipa(symbol: str, name: str) -> None:
    assert class_in("IPA", symbol) == name
    for changed in (f"{symbol}ː", f"ˈ{symbol}", f"{symbol}\u0303", f"/{symbol}/", f"[{symbol}]"):
        assert class_in("IPA", changed) == name, changed


@pytest.mark.parametrize(("symbol", "name"), pairs(MFA))
def test_what_dictionaries_of_the_montreal_aligner_hold(symbol: str, name: str) -> None:
    assert class_in("IPA", symbol) == name
    assert read([symbol, "ʃ", "ŋ", "ʒ"]).classes[symbol] == name


@pytest.mark.parametrize(("symbol", "name"), pairs(MAUS))
def test_what_webmaus_writes(symbol: str, name: str) -> None:
    assert class_in("X-SAMPA", symbol) == name


@pytest.mark.parametrize(("symbol", "ipa"), X_SAMPA.items())
def test_x_sampa_is_ipa_in_ascii(symbol: str, ipa: str) -> None:
    assert class_in("IPA", ipa) in CLASSES
    assert class_in("X-SAMPA", symbol) == class_in("IPA", ipa)
    for mark in (":", "_0", "_h", "~", "_="):
        assert class_in("X-SAMPA", symbol + mark) == class_in("IPA", ipa)


@pytest.mark.parametrize(("symbol", "name"), pairs(SAMPA))
def test_sampa_of_nine_languages(symbol: str, name: str) -> None:
    assert class_in("X-SAMPA", symbol) == name


@pytest.mark.parametrize(("symbol", "name"), pairs(OTHER_MFA))
def test_other_dictionaries_of_the_montreal_aligner(symbol: str, name: str) -> None:
    assert class_in("IPA", symbol) == name


@pytest.mark.parametrize("mark", sorted(words(MARKS_OF_X_SAMPA)))
def test_every_mark_of_x_sampa_leaves_its_sound_in_its_class(mark: str) -> None:
    for sound in words(TABLE_OF_X_SAMPA):
        # A stop with an "_a" or the like is one sound; an underscore before any other letter ties two.
        assert class_in("X-SAMPA", sound + mark) == class_in("X-SAMPA", sound), sound
        assert class_in("X-SAMPA", sound) is not None, sound


def test_whole_tables_are_known() -> None:
    assert {class_in("ARPAbet", symbol) for symbol in TIMIT} == set(CLASSES) - {PAUSE}
    assert {class_in("ARPAbet", symbol) for symbol in ("pau", "epi", "h#")} == {PAUSE}
    # One sound has one class, however it is written.
    for arpabet, ipa, x_sampa in (("WH", "ʍ", "W"), ("DX", "ɾ", "4"), ("Q", "ʔ", "?"), ("AXR", "ɚ", "@`")):
        assert class_in("ARPAbet", arpabet) == class_in("IPA", ipa) == class_in("X-SAMPA", x_sampa) is not None
    for click in ("O\\", "|\\", "!\\", "=\\", "|\\|\\"):
        assert class_in("X-SAMPA", click) is None


def test_q_of_german_corpora_is_not_guessed() -> None:
    english = read(["Q", "{", "aI", "D", "@"])
    assert english.classes["Q"] == "low vowel"
    assert not english.ambiguous
    german = read(["Q", "OY", "C", "@", "a:"])
    assert german.ambiguous == ("Q",)
    assert german.words() == ("Symbols that X-SAMPA and the Kiel Corpus read differently and that have no class: 'Q'.")
    assert set(german.classes) == {"OY", "C", "@", "a:"}


@pytest.mark.parametrize("label", ["", "  ", *sorted(SILENCES), "SIL", "<P:>", "[sil]"])
def test_silence_is_a_pause_in_every_set(label: str) -> None:
    assert is_silence(label)
    assert {class_in(name, label) for name in SETS} == {PAUSE}


@pytest.mark.parametrize("label", ["spn", "<unk>", "xyz", "??", "AA3", "hello", "<usb>", "#1", "7x", "ʘ", "Ꞩ", "日"])
def test_what_no_set_has_is_listed_and_never_guessed(label: str) -> None:
    for rest in (["AA1", "T", "HH"], ["ʃ", "tʰ", "aj"], ["aI", "@", "t_h"]):
        found = read([label, *rest])
        assert label not in found.classes
        assert found.unknown == (label,)
        assert f"'{label}'" in found.words()
        assert set(found.classes) == set(rest)


def test_the_set_is_that_of_the_tier_and_not_of_a_letter() -> None:
    # R, T, Y and V are a liquid, a stop, a glide and a fricative in ARPAbet, and other sounds in X-SAMPA.
    letters = ["R", "T", "Y", "V"]
    assert [read([*letters, "AA1"]).classes[x] for x in letters] == ["liquid", "stop", "glide", "fricative"]
    german = read([*letters, "a:"]).classes
    assert [german[x] for x in letters] == ["fricative", "fricative", "high vowel", "mid vowel"]
    undecided = read(letters)
    assert undecided.ambiguous == ("R", "T", "V", "Y")
    assert not undecided.classes
    assert undecided.words() == (
        "Symbols that ARPAbet and X-SAMPA read differently and that have no class: 'R', 'T', 'V', 'Y'."
    )
