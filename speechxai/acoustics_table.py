"""What every acoustic measure means, its unit, the task it is defined on, and its published reference values."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from speechxai.errors import SpeechXAIError
from speechxai.resources import resource_folder

Task = Literal["vowel", "ddk", "reading", "any"]


@dataclass(frozen=True)
class Measure:
    """Facts about one acoustic measure: shown beside its value, never a verdict.

    Args:
        name: key in the dictionary that `measures` returns.
        label: what a person reads.
        unit: of the value; "" for shares.
        tasks: where it is defined; "reading" covers monologue and phrases, "any" everything.
        description: plain language.
        caveat: what else moves it.
        citation: key of the source.
    """

    name: str
    label: str
    unit: str
    tasks: tuple[Task, ...]
    description: str
    caveat: str
    citation: str

    def defined_on(self, task: str) -> bool:
        """Return whether the measure means something for a recording's task, for example "vowel-a" or "ddk"."""
        return "any" in self.tasks or task_kind(task) in self.tasks


def task_kind(task: str) -> str:
    """Return "vowel", "ddk", "reading" or "unknown" for a recording's task name.

    >>> task_kind("vowel-a"), task_kind("ddk-pataka"), task_kind("monologue"), task_kind("cough")
    ('vowel', 'ddk', 'reading', 'unknown')
    """
    name = task.lower()
    if name.startswith(("vowel", "sustained")):
        return "vowel"
    if name.startswith(("ddk", "pataka", "pa-ta-ka")):
        return "ddk"
    connected = ("read", "sentence", "monolog", "phrase", "text", "spontaneous", "dialog", "glide")
    return "reading" if name.startswith(connected) else "unknown"


_LEVEL = "Moves with microphone, room, codec and sample rate."
_CYCLE = "Meaningless outside a sustained vowel; noise and low sample rates raise it."

MEASURES: tuple[Measure, ...] = (
    Measure("f0_mean_hz", "mean pitch", "Hz", ("any",), "How high the voice is.", "Depends on sex, age and language.", "boersma1993accurate"),
    Measure("f0_sd_semitones", "pitch variability", "semitones", ("reading", "vowel"), "How much the pitch moves: melody in speech, unsteadiness in a held vowel.", "Depends on the text and the emotion.", "skodda2011gender"),
    Measure("f0_range_semitones", "pitch range", "semitones", ("reading",), "From the 5th to the 95th percentile of pitch.", "Octave errors of the pitch tracker widen it.", "skodda2011gender"),
    Measure("jitter_local_percent", "jitter (local)", "%", ("vowel",), "Mean difference of neighboring cycle lengths: roughness.", _CYCLE, "boersma2001praat"),
    Measure("jitter_ppq5_percent", "jitter (PPQ5)", "%", ("vowel",), "The same against the mean of five cycles: less sensitive to slow pitch change.", _CYCLE, "boersma2001praat"),
    Measure("shimmer_local_percent", "shimmer (local)", "%", ("vowel",), "Mean difference of neighboring cycle amplitudes: roughness, breathiness.", _CYCLE, "boersma2001praat"),
    Measure("shimmer_local_db", "shimmer (local)", "dB", ("vowel",), "The same as a level ratio.", _CYCLE, "boersma2001praat"),
    Measure("shimmer_apq11_percent", "shimmer (APQ11)", "%", ("vowel",), "Amplitude of a cycle against the mean of eleven.", _CYCLE, "boersma2001praat"),
    Measure("hnr_db", "harmonics-to-noise ratio", "dB", ("vowel",), "How much of the voice repeats from cycle to cycle; low is hoarse or breathy.", "Room and telephone noise lower it.", "boersma1993accurate"),
    Measure("cpps_db", "cepstral peak prominence", "dB", ("vowel", "reading"), "How clearly harmonics stand out; low is breathy or hoarse.", "Software and task change the scale.", "hillenbrand1996acoustic"),
    Measure("spectral_tilt_db_per_octave", "spectral tilt", "dB/octave", ("vowel", "reading"), "How fast the spectrum falls from 200 to 4000 Hz; steep is soft or breathy voicing.", _LEVEL, "hillenbrand1996acoustic"),
    Measure("spectral_centroid_hz", "spectral centroid", "Hz", ("any",), "Center of gravity of the voiced spectrum: dark or bright.", _LEVEL, "peeters2004large"),
    *(Measure(f"band_{low}_{high}_db", f"level {low} to {high} Hz", "dB", ("any",), "Level of the voiced frames in this octave relative to the whole.", _LEVEL, "peeters2004large") for low, high in ((125, 250), (250, 500), (500, 1000), (1000, 2000), (2000, 4000), (4000, 8000))),
    Measure("f1_hz", "first formant", "Hz", ("vowel",), "Median first resonance: how open the mouth is.", "Depends on vowel and vocal tract length; unreliable for high pitch.", "makhoul1975linear"),
    Measure("f2_hz", "second formant", "Hz", ("vowel",), "Median second resonance: how far front the tongue is.", "As for the first formant.", "makhoul1975linear"),
    Measure("f2_range_octaves", "movement of the second formant", "octaves", ("reading", "ddk"), "From the 10th to the 90th percentile: how far the tongue travels.", "Depends on the text.", "sapir2010formant"),
    Measure("amplitude_tremor_db", "amplitude tremor, 4 to 7 Hz", "dB", ("vowel",), "Standard deviation of the level within 4 to 7 Hz.", "Vibrato and heartbeat give some.", "gillivan2019tremor"),
    Measure("pitch_tremor_semitones", "pitch tremor, 4 to 7 Hz", "semitones", ("vowel",), "Standard deviation of the pitch within 4 to 7 Hz.", "Vibrato gives some.", "gillivan2019tremor"),
    Measure("intensity_sd_db", "loudness variability", "dB", ("reading", "ddk"), "Standard deviation of the level of speech frames.", "Compression in telephones lowers it.", "skodda2011gender"),
    Measure("voiced_share", "voiced share", "", ("any",), "Share of speech frames with a pitch.", "Noise lowers it.", "boersma1993accurate"),
    Measure("pause_ratio", "pause ratio", "", ("reading",), "Share of the time between first and last speech in pauses of at least 150 ms.", "Cutting and noise gates change it.", "skodda2008speech"),
    Measure("syllable_rate_hz", "syllable rate", "1/s", ("ddk",), "Peaks of loudness per second.", "Language-specific; noise adds peaks.", "ackermann1995articulatory"),
    Measure("syllable_irregularity", "syllable irregularity", "", ("ddk",), "Standard deviation of the time between syllables over its mean.", "Breaths count.", "ackermann1995articulatory"),
)  # fmt: skip
"""All measures, in the order of their names in `MEASURE_NAMES`."""

MEASURE_NAMES: tuple[str, ...] = tuple(measure.name for measure in MEASURES)
"""Keys of the dictionary that `measures` returns."""


@dataclass(frozen=True)
class Reference:
    """A published value to show beside a measure, with the language, sex, task and software it holds for."""

    measure: str
    value: float
    unit: str
    kind: Literal["cutoff_above", "cutoff_below", "typical", "direction"]
    language: str
    sex: str
    task: str
    software: str
    source: str
    caveat: str


@cache
def references(path: Path | None = None) -> tuple[Reference, ...]:
    """Read the reference values.

    Raises:
        SpeechXAIError: a missing file or an entry with missing or unknown fields.
    """
    file = path or resource_folder("data_cards") / "acoustic_references.toml"
    try:
        content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SpeechXAIError(f"{file}: the reference values cannot be read ({error}).") from error
    entries = []
    for index, entry in enumerate(content.get("reference", [])):
        try:
            entries.append(Reference(**entry))
        except TypeError as error:
            raise SpeechXAIError(f"{file}: reference {index + 1} has missing or unknown fields ({error}).") from error
    return tuple(entries)


def references_for(measure: str, task: str = "any", sex: str = "any", language: str = "any") -> tuple[Reference, ...]:
    """Return the reference values of a measure that hold for the task kind, sex and language; "any" matches all."""

    def agrees(wanted: str, stated: str) -> bool:
        return "any" in (wanted, stated) or wanted == stated

    kind = task if task == "any" else task_kind(task)
    return tuple(
        entry
        for entry in references()
        if entry.measure == measure
        and agrees(kind, task_kind(entry.task) if entry.task != "any" else "any")
        and agrees(sex, entry.sex)
        and agrees(language, entry.language)
    )
