"""What can be known of a recording without hearing any disease: one function a probe, each a few numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from speechxai.data.manifest import is_token
from speechxai.errors import NotApplicable
from speechxai.registry import Registry
from speechxai.signal.acoustics import SHORTEST_PAUSE_S, energy_db, speech_frames
from speechxai.signal.quality import Quality, quality
from speechxai.types import Array

PHONE_HZ = 4_000.0
"""Where the band of a telephone ends at the latest."""

SILENCE_BANDS, ROOM_BANDS = 8, 12
"""Bands of equal width on a logarithmic axis from 60 Hz to 4 kHz, which every sample rate that is read has."""

MAINS_HZ = (50.0, 60.0)
"""The mains of the world."""

LINE_DB, NO_LINE_DB = 8.0, -80.0
"""How far a line stands out of its neighbors at least, as noise of 2.5 s does in 1 of 150 recordings; what stands for
none."""

_HOP_S, _EDGE = 0.010, 2
_FLOOR_DB = -120.0

Values = Mapping[str, float | str]
"""What a probe says of one recording: numbers, and kinds without an order as text."""


@dataclass(frozen=True, eq=False)
class Heard:
    """One recording as the probes meet it.

    Args:
        row: its row of the manifest: age, sex, path and the like.
        waveform: (N,), at its own rate and level, its mean removed.
        sample_rate: Hz.
        header: what the file says of itself: format, sample rate, channels, and its offset before the mean went.
        place: where its file name stands among all in order, from 0 to 1.
    """

    row: Mapping[str, Any]
    waveform: Array
    sample_rate: int
    header: Mapping[str, Any]
    place: float = 0.0

    @cached_property
    def frame_db(self) -> Array:
        """Level of a frame every 10 ms, dB of full scale."""
        hop = max(1, round(_HOP_S * self.sample_rate))
        return energy_db(self.waveform, self.sample_rate, hop, 1 + len(self.waveform) // hop)

    @cached_property
    def speech(self) -> Array:
        """Which frames are speech; a recording without any is all speech, as nothing in it is a pause."""
        found = speech_frames(self.frame_db)
        return found if found.any() else np.ones_like(found)

    @cached_property
    def speech_db(self) -> float:
        """Level of its speech, dB of full scale."""
        return float(10 * np.log10(np.mean(10 ** (self.frame_db[self.speech] / 10))))

    @cached_property
    def quality(self) -> Quality:
        """Its technical quality."""
        return quality(self.waveform, self.sample_rate)

    @cached_property
    def gaps(self) -> list[tuple[int, int]]:
        """First frame and the one after the last of every pause of at least 150 ms, at the ends as well."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], ~self.speech, [False]]).astype(np.int8)))
        pairs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        return [(a, b) for a, b in pairs if (b - a) * _HOP_S >= SHORTEST_PAUSE_S]

    @cached_property
    def pauses(self) -> Array:
        """Its pauses cut out and put together, 20 ms less at each side that touches speech.

        Raises:
            NotApplicable: there is no pause.
        """
        hop, last = max(1, round(_HOP_S * self.sample_rate)), len(self.speech)
        parts = [
            self.waveform[(a + _EDGE * (a > 0)) * hop : max(0, b - _EDGE * (b < last)) * hop] for a, b in self.gaps
        ]
        found = np.concatenate(parts) if parts else np.zeros(0)
        if len(found) < 0.1 * self.sample_rate:
            raise NotApplicable("there is no pause of 150 ms to hear the room in")
        return found

    @cached_property
    def without_pauses(self) -> Array:
        """Its waveform without the pauses, (M,)."""
        hop, keep = max(1, round(_HOP_S * self.sample_rate)), np.ones(len(self.waveform), bool)
        for a, b in self.gaps:
            keep[(a + _EDGE * (a > 0)) * hop : max(0, b - _EDGE * (b < len(self.speech))) * hop] = False
        return self.waveform[keep]


Probe = Callable[[Heard], Values]

PROBES: Registry[Probe] = Registry("probe", required=("label", "of", "caveat"))
"""Probes by name. Facts: `label` in words; `of` what it looks at: "person", "sound" or "file" (what no network hears:
it is shown, and raises no alarm); `caveat` what of the disease it may hear all the same, "" for nothing."""


@PROBES.register(label="age", of="person", caveat="")
def age(heard: Heard) -> Values:
    """Age alone."""
    return {"age, years": _stated(heard.row, "age")}


@PROBES.register(label="sex", of="person", caveat="")
def sex(heard: Heard) -> Values:
    """Sex alone."""
    if heard.row.get("sex") not in ("F", "M"):
        raise NotApplicable("no sex is stated")
    return {"woman": float(heard.row["sex"] == "F")}


@PROBES.register(label="duration", of="sound", caveat="how long a vowel is held, or how fast a text is read")
def duration(heard: Heard) -> Values:
    """Length of the recording alone."""
    return {"log2 of the duration, s": math.log2(len(heard.waveform) / heard.sample_rate)}


@PROBES.register(label="level", of="sound", caveat="a soft voice, where the gain was fixed")
def level(heard: Heard) -> Values:
    """Level of the speech and of the largest sample, as the file has them."""
    peak = 20 * math.log10(max(float(np.abs(heard.waveform).max()), 1e-6))
    return {"level of speech, dB of full scale": heard.speech_db, "peak, dB of full scale": peak}


@PROBES.register(label="noise floor", of="sound", caveat="breath noise in a held vowel without any pause")
def noise_floor(heard: Heard) -> Values:
    """Density of the quietest frequency in the quietest fifth of the time, under the level of the speech.

    Windows of 8 ms are shorter than a period of the voice: a held vowel has no pause, but what it masks shows between
    two closures of the glottis and at the edges of the band, where a line or a codec lets nothing of it through.
    """
    power = _cells(heard.waveform, heard.sample_rate, 0.008, PHONE_HZ - 1)[1]
    quietest = float(np.quantile(power, 0.2, axis=1).min())
    return {"quietest frequency, dB beside the speech": _db(quietest) - heard.speech_db}


@PROBES.register(label="hum of the mains", of="sound", caveat="")
def hum(heard: Heard) -> Values:
    """How far 50 and 60 Hz stand out of their neighbors in the quietest tenth of the time, and beside the speech; where
    they do not stand out, what is there is noise and no hum."""
    frequency, power = _cells(heard.waveform, heard.sample_rate, 0.4, 80.0)
    if power.shape[1] < 3:
        raise NotApplicable("shorter than half a second")
    steady = 10 * np.log10(np.quantile(power, 0.1, axis=1) + 1e-15)
    beside = (frequency >= 30) & (frequency <= 75) & (np.abs(frequency - 50) > 4) & (np.abs(frequency - 60) > 4)
    around = float(np.median(steady[beside]))
    lines = {f"{hz:g} Hz": float(steady[np.abs(frequency - hz) <= 2.6].max()) for hz in MAINS_HZ}
    return {f"{name}, dB above its neighbors": value - around for name, value in lines.items()} | {
        f"{name}, dB beside the speech": value - heard.speech_db if value - around > LINE_DB else NO_LINE_DB
        for name, value in lines.items()
    }


@PROBES.register(label="pauses", of="sound", caveat="pauses within speech; not the silence at both ends")
def pauses(heard: Heard) -> Values:
    """How much silence there is and where: before the first sound, after the last, and between."""
    spoken = np.flatnonzero(heard.speech)
    inside = [b - a for a, b in heard.gaps if a > spoken[0] and b <= spoken[-1]]
    return {
        "silence before, s": float(spoken[0]) * _HOP_S,
        "silence after, s": float(len(heard.speech) - 1 - spoken[-1]) * _HOP_S,
        "share of silence": 1 - float(heard.speech.mean()),
        "longest pause within, s": max(inside, default=0) * _HOP_S,
    }


@PROBES.register(label="silence only", of="sound", caveat="breathing, and the end of a fading voice")
def silence(heard: Heard) -> Values:
    """What is heard where nobody speaks: the pauses cut out and put together."""
    found = _bands_db(heard.pauses, heard.sample_rate, SILENCE_BANDS)
    zeros = float(np.mean(np.abs(heard.pauses) < 1e-9))
    return {f"{name}, dB under the speech": value - heard.speech_db for name, value in found.items()} | {
        "share of exact zeros": zeros
    }


@PROBES.register(label="microphone or room", of="sound", caveat="")
def room(heard: Heard) -> Values:
    """Shape of the long-term spectrum of the pauses, whatever its level."""
    found = _bands_db(heard.pauses, heard.sample_rate, ROOM_BANDS)
    mean = float(np.mean(list(found.values())))
    return {name: value - mean for name, value in found.items()}


@PROBES.register(label="band above the telephone", of="sound", caveat="fricatives and breath noise")
def band(heard: Heard) -> Values:
    """What there is above 4 kHz: how high, and how loud beside what lies below."""
    nyquist = heard.sample_rate / 2
    if nyquist <= 1.1 * PHONE_HZ:
        raise NotApplicable(f"a sample rate of {heard.sample_rate} Hz has no band above {PHONE_HZ:g} Hz")
    frequency, power = _spectrum(heard.waveform, heard.sample_rate)
    below = power[frequency < PHONE_HZ].sum()
    parts = {"above 4 kHz": (PHONE_HZ, nyquist), "last tenth of the band": (0.9 * nyquist, nyquist)}
    levels = {
        f"{name}, dB": _db(float(power[(frequency >= low) & (frequency < high)].sum() / below))
        for name, (low, high) in parts.items()
    }
    return {"bandwidth, Hz": heard.quality.bandwidth_hz} | levels


@PROBES.register(label="container and codec", of="sound", caveat="")
def container(heard: Heard) -> Values:
    """What the file says of itself: format, sample format, sample rate, channels."""
    names = ("format", "sample_rate", "channels")
    found = {name: str(heard.header.get(name)) for name in names if heard.header.get(name) is not None}
    if not found:
        raise NotApplicable("nothing is known of the file")
    return found


@PROBES.register(label="traces of coding", of="sound", caveat="")
def coding(heard: Heard) -> Values:
    """What the samples keep of codecs, converters and editors before: the step of their grid (1 in 2^24 where they lie
    on none), samples that stand still, offset, clipping."""
    steps = np.diff(np.unique(np.round(heard.waveform, 9)))
    smallest = float(steps.min(initial=1.0))
    still = np.abs(np.diff(heard.waveform)) < 1e-9
    on_grid = len(steps) > 0 and float(np.mean(steps < 1.05 * smallest)) > 0.5
    return {
        "step, log2 of full scale": math.log2(max(smallest, 2.0**-24)) if on_grid else -24.0,
        "share in runs of four equal samples": float(np.mean(still[2:] & still[1:-1] & still[:-2]))
        if len(still) > 2
        else 0.0,
        "offset": abs(float(heard.header.get("offset", 0.0))),
        "clipped share": heard.quality.clipping_share,
    }


@PROBES.register(label="file name", of="file", caveat="")
def file_name(heard: Heard) -> Values:
    """Shape of the file's name: its length, and how often each letter, digits and other signs occur. No folder."""
    path = str(heard.row.get("path", ""))
    if not path or is_token(path):
        raise NotApplicable("names are replaced by pseudonyms")
    stem = PurePosixPath(path).stem.lower()
    signs = Counter("0" if sign.isdigit() else sign for sign in stem)
    letters = {f"number of {sign}": float(signs[sign]) for sign in "abcdefghijklmnopqrstuvwxyz0_-"}
    return {"length": float(len(stem))} | letters


@PROBES.register(label="order of the files", of="file", caveat="")
def file_order(heard: Heard) -> Values:
    """Where the file's name stands when all are sorted, folders left out."""
    if is_token(str(heard.row.get("path", ""))):
        raise NotApplicable("names are replaced by pseudonyms")
    return {"place": heard.place}


def measured(heard: Heard, names: tuple[str, ...] | None = None) -> dict[str, Values | str]:
    """What each probe says of a recording, or in words why it says nothing."""
    found: dict[str, Values | str] = {}
    for name in PROBES if names is None else names:
        try:
            found[name] = PROBES[name](heard)
        except NotApplicable as error:
            found[name] = str(error)
    return found


def _stated(row: Mapping[str, Any], column: str) -> float:
    value = row.get(column)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise NotApplicable(f"no {column} is stated")
    return number


def _db(power: float) -> float:
    return max(_FLOOR_DB, 10 * math.log10(max(power, 1e-20)))


def _cells(samples: Array, rate: int, length_s: float, top_hz: float) -> tuple[Array, Array]:
    """Frequencies, Hz, and power (F, T) of Hann windows that overlap by half, from 30 Hz up to `top_hz`, without half
    the sample rate."""
    n = min(len(samples), max(16, round(length_s * rate)))
    window = np.hanning(n + 2)[1:-1]
    starts = np.arange(0, len(samples) - n + 1, max(1, n // 2))
    frames = np.lib.stride_tricks.sliding_window_view(samples, n)[starts] * window
    frequency = np.fft.rfftfreq(n, 1 / rate)
    kept = (frequency >= 30) & (frequency <= top_hz) & (frequency < 0.999 * rate / 2)
    power = np.abs(np.fft.rfft(frames, axis=1)[:, kept].T) ** 2 / float((window**2).sum())
    return frequency[kept], power


def _spectrum(samples: Array, rate: int) -> tuple[Array, Array]:
    """Frequencies, Hz, and mean power (F,) of 128 ms windows: the sum over frequency is the mean square."""
    n = min(len(samples), max(16, round(0.128 * rate)))
    window = np.hanning(n + 2)[1:-1]
    starts = np.arange(0, len(samples) - n + 1, max(1, n // 2))
    frames = np.lib.stride_tricks.sliding_window_view(samples, n)[starts] * window
    power = np.mean(np.abs(np.fft.rfft(frames, axis=1)) ** 2, axis=0) / (n * float((window**2).sum()))
    return np.fft.rfftfreq(n, 1 / rate), 2 * power


def _bands_db(samples: Array, rate: int, n_bands: int) -> dict[str, float]:
    """Level of bands from 60 Hz to 4 kHz, dB of full scale."""
    frequency, power = _spectrum(samples, rate)
    edges = np.geomspace(60, 0.95 * min(PHONE_HZ, rate / 2), n_bands + 1)
    found = {}
    for low, high in pairwise(edges.tolist()):
        inside = (frequency >= low) & (frequency < high)
        if not inside.any():
            inside[np.argmin(np.abs(frequency - (low + high) / 2))] = True
        found[f"{low:.0f} to {high:.0f} Hz"] = _db(float(power[inside].sum()))
    return found
