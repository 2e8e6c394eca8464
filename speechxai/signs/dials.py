"""The signs that a clinician hears, each as a dial: an edit of a voice in the unit of the sign's own measure.

A dial is asked for a dose and finds by itself how strong the edit must be: it edits, measures, and edits again, so that
its measure moves by the dose. Dose 0 goes the same way. What a voice cannot give is NotApplicable, with the reason.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, sosfilt

from speechxai.errors import NotApplicable
from speechxai.registry import Registry
from speechxai.signal.acoustics import (
    BURST_S,
    FEWEST_STOPS,
    PAUSE,
    SHORTEST_PAUSE_S,
    UNVOICED,
    VOICED,
    burst_contrasts_db,
    energy_db,
    formant_distance_octaves,
    formants_hz,
    level_slope_db_per_s,
    mean_power,
    measures,
    modulation_depth,
    neutral_hz,
    perturbation,
    phrases,
    spectral_measures,
    speech_frames,
    steady,
    stops,
    task_kind,
    timing,
)
from speechxai.signal.pitch import PitchTrack, harmonicity_db, pitch_track
from speechxai.signs.voice import (
    Placed,
    Voice,
    filtered,
    gained,
    overlap_added,
    repitched,
    resonance,
    retimed,
    spliced,
    taken_apart,
)
from speechxai.types import Array

Dial = Callable[..., Array]
"""`(waveform (N,), sample_rate, dose) -> waveform (M,)`; where it is random, with a keyword `seed`."""

SIGNS: Registry[Dial] = Registry(
    "sign", required=("label", "more", "less", "unit", "measure", "moves", "tasks", "operator", "entails", "cites")
)
"""Dials by name. Facts: label, and words for both directions; the unit of a dose; the acoustic measure that a dose
moves and whether up (1) or down (-1), times what; kinds of tasks where the sign is defined; which operator edits
("noise", "cycles", "gain", "filter", "time": a placebo is made by the same); measures that must move with it; source.
A sign that the table of people does not know states `sd`, the standard deviation of people in the unit of its doses.
"""

SHARES: Mapping[str, float] = {"pause_ratio": 100.0}
"""Measures that are shares, which doses count in percent."""

_TOLERANCE, _MOST_TRIES = 0.03, 6
_ALLOWED = 0.1
"""A dial that misses the dose by more does not apply."""
_HNR_FRAMES, _FORMANT_FRAMES, _JITTER_FRAMES = 300, 150, 500
_TREMOR_HZ, _TREMOR_BAND_HZ = 5.2, (3.0, 8.0)
_TREMOR_DB_PER_SEMITONE = 3.0
"""Loudness swings with pitch in vocal tremor (gillivan2019tremor); how much is ours."""
_SHIMMER_PER_JITTER = 3.0
"""Amplitudes change from cycle to cycle by three times as many percent as periods: what rough voices have."""
_TILT_BAND_HZ, _TILT_PIVOT_HZ = (200.0, 4000.0), 800.0
_LARGEST_GAIN_DB = 15.0
_FADE_S = 0.01


def defined_on(name: str, task: str) -> bool:
    """Whether a sign means something for a recording's task; of an unknown task the recording itself must tell."""
    kind = task_kind(task)
    tasks = SIGNS.facts(name)["tasks"]
    return "any" in tasks or kind == "unknown" or kind in tasks


def _reached(
    voice: Voice,
    dose: float,
    edit: Callable[[float], Array],
    moved: Callable[[Array], float],
    per_dose: float,
    low: float,
    high: float,
    what: str,
) -> Array:
    """Edit so strongly that the measure moves by the dose: a secant from the first guess, within a bracket.

    Args:
        voice: what is edited, within the band that it has.
        dose: how far the measure shall move.
        edit: strength to waveform; strength 0 is dose 0.
        moved: how far the measure of a waveform has moved.
        per_dose: strength of a dose of 1, the first guess.
        low, high: bounds of the strength.
        what: of the measure, for the reason.

    Raises:
        NotApplicable: within the bounds the measure comes no nearer than a tenth of the dose.
    """
    strength = float(np.clip(per_dose * dose, low, high))
    # The measure rises with the strength, so every trial tells on which side the dose lies.
    below, above = low, high
    bracketed = [False, False]
    best: tuple[float, Array] | None = None
    last: tuple[float, float] = (0.0, 0.0)
    for _ in range(_MOST_TRIES):
        result = voice.in_band(edit(strength))
        got = moved(result)
        miss = abs(got - dose) if np.isfinite(got) else np.inf
        if best is None or miss < best[0]:
            best = miss, result
        if miss <= _TOLERANCE * abs(dose) or not np.isfinite(got):
            break
        if (got < dose and strength >= high) or (got > dose and strength <= low):
            break  # the strongest edit is not enough
        if got < dose:
            below, bracketed[0] = strength, True
        else:
            above, bracketed[1] = strength, True
        slope = (got - last[1]) / (strength - last[0]) if strength != last[0] else 0.0
        last = strength, got
        # Where the first guess did nothing yet, go on from where it began.
        step = strength + (dose - got) / slope if slope > 0 else 2 * strength
        if not below < step < above:
            step = 0.5 * (below + above) if all(bracketed) else float(np.clip(step, below, above))
        if abs(step - strength) < 1e-9:
            break
        strength = step
    assert best is not None
    if dose and not best[0] <= _ALLOWED * abs(dose):
        raise NotApplicable(f"this voice does not give so much: {what} cannot be moved by {dose:+.3g}")
    return best[1]


def _level(voice: Voice, result: Array) -> tuple[Array, Array]:
    """Level and speech (T,) of a result (M,) as the measures hear them."""
    centered = result - result.mean()
    level = energy_db(centered, voice.sample_rate, voice.hop_samples, -(-result.shape[0] // voice.hop_samples) + 1)
    return level, speech_frames(level)


def _thinned(track: PitchTrack, most: int) -> PitchTrack:
    """A track with at most so many voiced frames, evenly chosen: means over them are as good."""
    voiced = np.flatnonzero(track.voiced)
    kept = voiced[:: max(1, -(-voiced.shape[0] // most))]
    f0 = np.full(track.f0_hz.shape[0], np.nan)
    f0[kept] = track.f0_hz[kept]
    return PitchTrack(f0, track.strength, track.hop_samples)


def _beginning(track: PitchTrack, most: int) -> PitchTrack:
    """A track up to so many voiced frames: some hundred cycles in a row tell the jitter of the rest."""
    f0 = np.where(np.cumsum(track.voiced) <= most, track.f0_hz, np.nan)
    return PitchTrack(f0, track.strength, track.hop_samples)


@SIGNS.register(
    label="breathiness",
    more="more breathy",
    less="less breathy",
    unit="dB",
    measure="hnr_db",
    moves=-1,
    tasks=("any",),
    operator="noise",
    entails=("cpps_db", "jitter", "shimmer", "band", "spectral"),
    cites="klatt1990analysis",
)
def breathiness(waveform: Array, sample_rate: int, dose: float, *, seed: int = 0) -> Array:
    """Add noise that follows the glottal cycle and the resonances, or lower what neighboring cycles do not share.

    The harmonics-to-noise ratio falls by the dose. The noise is 12 dB an octave brighter than the voice from 500 to
    4000 Hz: the glottis adds it flat, beside harmonics that fall by as much.
    """
    voice = taken_apart(waveform, sample_rate)
    rest = voice.waveform - voice.harmonic
    track = _thinned(voice.track, _HNR_FRAMES)

    def ratio(values: Array) -> float:
        return float(harmonicity_db(values - values.mean(), sample_rate, track).mean())

    before = voice.once("hnr", lambda: ratio(voice.waveform))
    noise = voice.once(f"aspiration {seed}", lambda: _aspiration(voice, seed)) if dose >= 0 else np.zeros_like(rest)

    def edit(strength: float) -> Array:
        # Noise at strength 1 is as loud as the voice.
        return voice.waveform + max(strength, 0.0) * noise + min(strength, 0.0) * rest

    share = np.sqrt(max(10 ** (-(before - dose) / 10) - 10 ** (-before / 10), 0.0)) if dose > 0 else 0.0
    guess = share / dose if dose > 0 else (1 - 10 ** (dose / 20)) / max(-dose, 1e-9)
    result = _reached(voice, dose, edit, lambda y: before - ratio(y), float(guess), -1.0, 10.0, "the HNR")
    return voice.leveled(result)


def _aspiration(voice: Voice, seed: int) -> Array:
    """Noise (N,) of the glottis: it opens and closes with the cycles, is shaped like the voice, and as loud."""
    n = voice.waveform.shape[0]
    phase = np.zeros(n)
    for marks in voice.runs:
        inside = np.arange(int(np.ceil(marks[0])), int(marks[-1]) + 1)
        phase[inside] = np.interp(inside, marks, np.arange(marks.shape[0]))
    noise = np.random.default_rng([seed, 11]).standard_normal(n) * (1 - 0.6 * np.cos(2 * np.pi * phase))
    hop = voice.hop_samples
    padded = np.concatenate([np.zeros(hop), voice.waveform, np.zeros(2 * hop)])
    window = np.hanning(2 * hop)

    def envelope(frequency: Array, part: slice) -> Array:
        frames = padded[np.arange(part.start, part.stop)[:, None] * hop + np.arange(2 * hop)] * window
        n_fft = 2 * (frequency.shape[0] - 1)
        smooth = max(3, int(400 * n_fft / voice.sample_rate))
        power = uniform_filter1d(np.abs(np.fft.rfft(frames, n_fft)) ** 2, smooth, axis=1, mode="nearest").clip(0)
        bright = (np.clip(frequency, 500.0, 4000.0) / 1000.0) ** 2
        return np.asarray(np.sqrt(power) * bright / np.sqrt((power * bright**2).mean(axis=1, keepdims=True) + 1e-20))

    shaped = filtered(voice, envelope, noise)
    level = np.sqrt(uniform_filter1d(shaped**2, max(1, int(0.03 * voice.sample_rate))).clip(1e-20))
    return np.asarray(shaped / level * voice.loudness * voice.voicing, dtype=np.float64)


@SIGNS.register(
    label="roughness",
    more="rougher",
    less="less rough",
    unit="%",
    measure="jitter_local_percent",
    moves=1,
    tasks=("vowel",),
    operator="cycles",
    entails=("jitter", "shimmer", "hnr_db", "cpps_db"),
    cites="boersma2001praat",
)
def roughness(waveform: Array, sample_rate: int, dose: float, *, seed: int = 0) -> Array:
    """Let the periods change from cycle to cycle and the amplitudes with them, or even both out; jitter moves."""
    voice = taken_apart(waveform, sample_rate)
    runs = voice.runs
    draw = np.random.default_rng([seed, 12])
    shakes = [draw.standard_normal((2, marks.shape[0])) for marks in runs]

    track = _beginning(voice.track, _JITTER_FRAMES)

    def jitter(values: Array) -> float:
        return perturbation(values - values.mean(), sample_rate, track)["jitter_local_percent"]

    def edit(strength: float) -> Array:
        placed = []
        for marks, (moves, swells) in zip(runs, shakes, strict=True):
            period = np.gradient(marks)
            targets = marks + max(strength, 0.0) * period * moves.clip(-2.5, 2.5)
            targets += min(strength, 0.0) * (marks - _evened(marks))
            loudness = np.interp(marks, np.arange(voice.waveform.shape[0]), voice.loudness) + 1e-9
            even = (_evened(loudness) / loudness) ** max(-strength, 0.0)
            gains = even * (1 + _SHIMMER_PER_JITTER * max(strength, 0.0) * swells).clip(0.3, 2.0)
            placed.append(Placed(marks, np.maximum.accumulate(targets), np.arange(marks.shape[0]), gains))
        return overlap_added(voice, placed)

    before = voice.once("jitter", lambda: jitter(voice.waveform))
    # Marks displaced by sd s periods: the mean difference of neighboring periods is sqrt(6) 0.8 s.
    guess = 0.01 / (0.8 * np.sqrt(6.0)) if dose >= 0 else 1.0 / max(before, 1e-9)
    return voice.leveled(_reached(voice, dose, edit, lambda y: jitter(y) - before, guess, -1.0, 0.2, "the jitter"))


def _evened(values: Array) -> Array:
    """Weighted mean of each value and the two on either side (n,); a straight line stays one, to its ends."""
    weights = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9
    padded = np.concatenate([2 * values[0] - values[2:0:-1], values, 2 * values[-1] - values[-2:-4:-1]])
    return np.convolve(padded, weights, "valid")


@SIGNS.register(
    label="tremor",
    more="more tremulous",
    less="less tremulous",
    unit="semitones",
    measure="pitch_tremor_semitones",
    moves=1,
    tasks=("vowel",),
    operator="cycles",
    entails=("amplitude_tremor_db", "f0_sd", "f0_range", "jitter", "shimmer", "hnr_db", "cpps_db"),
    cites="gillivan2019tremor",
)
def tremor(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Let pitch and loudness swing together at 5.2 Hz, or flatten what swings in them from 3 to 8 Hz."""
    voice = taken_apart(waveform, sample_rate)
    pitch = 12 * np.log2(voice.f0)
    runs = _runs_of(voice.track.voiced)
    longest = max(runs, key=lambda run: run.stop - run.start)
    rate_hz = voice.frame_rate_hz
    if longest.stop - longest.start < 0.5 * rate_hz:
        raise NotApplicable("a tremor needs 0.5 s of unbroken voice")
    before = modulation_depth(pitch[longest], rate_hz)
    pitch_band, level_band = np.zeros(voice.n_frames), np.zeros(voice.n_frames)
    for run in runs:
        if run.stop - run.start >= 0.3 * rate_hz:
            pitch_band[run], level_band[run] = (_swinging(x[run], rate_hz) for x in (pitch, voice.level_db))
    swing = np.sin(2 * np.pi * _TREMOR_HZ * np.arange(voice.n_frames) / rate_hz)

    def planned(strength: float) -> tuple[Array, Array]:
        if strength >= 0:
            return strength * swing, _TREMOR_DB_PER_SEMITONE * strength * swing
        return strength * pitch_band, strength * level_band

    # The depth follows from the plan: cycles are moved as planned.
    def moved(strength: float) -> float:
        return modulation_depth((pitch + planned(strength)[0])[longest], rate_hz) - before

    low, high = -1.0, 6.0
    if not moved(low) <= dose <= moved(high):
        raise NotApplicable(f"this voice does not give so much: its tremor cannot be moved by {dose:+.3g}")
    strength = _root(lambda s: moved(s) - dose, *((low, 0.0) if dose < 0 else (0.0, high)))
    semitones, decibels = planned(strength)
    changed = repitched(voice, 2 ** (semitones / 12))
    return voice.leveled(changed * 10 ** (voice.to_samples(decibels) / 20))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is 0, between the bounds; a bound where it is 0 there."""
    from scipy.optimize import brentq

    first, last = function(low), function(high)
    if first >= 0 or last <= 0:
        return low if abs(first) <= abs(last) else high
    return float(brentq(function, low, high, xtol=1e-4))


def _runs_of(mask: Array) -> list[slice]:
    """Stretches where a mask (T,) is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _swinging(values: Array, rate_hz: float) -> Array:
    """What of a contour (T,) swings at 3 to 8 Hz, with soft edges of half a Hz."""
    time = np.arange(values.shape[0])
    flat = values - np.polyval(np.polyfit(time, values, 2), time)
    spectrum = np.fft.rfft(flat)
    frequency = np.fft.rfftfreq(values.shape[0], 1 / rate_hz)
    low, high = _TREMOR_BAND_HZ
    spectrum *= np.clip(np.minimum(frequency - low, high - frequency) / 0.5 + 0.5, 0, 1)
    return np.asarray(np.fft.irfft(spectrum, values.shape[0]), dtype=np.float64)


@SIGNS.register(
    label="pitch range",
    more="more melodious",
    less="more monotone",
    unit="semitones",
    measure="f0_sd_semitones",
    moves=1,
    tasks=("reading",),
    operator="cycles",
    entails=("f0_range", "f0_mean_hz", "pitch_tremor", "jitter", "shimmer", "hnr_db"),
    cites="skodda2011gender",
)
def pitch_range(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Expand the pitch contour around its median, or shrink it."""
    voice = taken_apart(waveform, sample_rate)
    pitch = 12 * np.log2(voice.f0)
    voiced = steady(voice.track.voiced)
    spread = float(pitch[voiced].std())
    if spread + dose < 0:
        raise NotApplicable(f"the pitch moves by {spread:.2g} semitones only, which cannot be less by {-dose:.2g}")
    if spread < 0.1:
        raise NotApplicable("the pitch does not move, so there is no contour to expand")
    away = pitch - np.median(pitch[voiced])

    def moved(result: Array) -> float:
        track = pitch_track(result - result.mean(), sample_rate, voice.hop_samples, voice.n_frames)
        return float((12 * np.log2(track.f0_hz[steady(track.voiced)])).std()) - spread

    edited = _reached(
        voice,
        dose,
        lambda s: repitched(voice, 2 ** (s * away / 12)),
        moved,
        1 / spread,
        -1.0,
        2.0,
        "the spread of pitch",
    )
    return voice.leveled(edited)


@SIGNS.register(
    label="pitch level",
    more="higher",
    less="lower",
    unit="semitones",
    measure="f0_median_semitones",
    moves=1,
    tasks=("any",),
    operator="cycles",
    entails=("f0_mean_hz", "hnr_db", "jitter", "shimmer", "cpps_db", "band"),
    cites="moulines1990pitch",
)
def pitch_level(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Move the pitch up or down; formants stay."""
    voice = taken_apart(waveform, sample_rate)
    if abs(dose) > 12:
        raise NotApplicable("a pitch that is moved by more than an octave is another voice")
    return voice.leveled(repitched(voice, np.full(voice.n_frames, 2 ** (dose / 12))))


@SIGNS.register(
    label="loudness range",
    more="more varied in loudness",
    less="less varied in loudness",
    unit="dB",
    measure="intensity_sd_db",
    moves=1,
    tasks=("reading",),
    operator="gain",
    entails=("shimmer", "burst_contrast_db", "level_slope", "amplitude_tremor"),
    cites="skodda2011gender",
)
def loudness_range(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Expand the level contour of speech around its mean, or compress it; at most 15 dB anywhere."""
    voice = taken_apart(waveform, sample_rate)
    if voice.speech.sum() < 10:
        raise NotApplicable("the recording has under 0.1 s of speech")
    spoken = np.flatnonzero(voice.speech)
    level = uniform_filter1d(voice.level_db, 3)
    away = np.interp(np.arange(voice.n_frames), spoken, level[spoken] - level[spoken].mean())
    before = float(voice.level_db[voice.speech].std())

    def edit(strength: float) -> Array:
        return gained(voice, np.clip(strength * away, -_LARGEST_GAIN_DB, _LARGEST_GAIN_DB))

    def moved(result: Array) -> float:
        level, speech = _level(voice, result)
        return float(level[speech].std()) - before

    result = _reached(voice, dose, edit, moved, 1 / max(before, 1e-3), -1.0, 4.0, "the spread of loudness")
    return voice.leveled(result)


@SIGNS.register(
    label="loudness decay",
    more="fading more toward the end of phrases",
    less="fading less toward the end of phrases",
    unit="dB/s",
    measure="level_slope_db_per_s",
    moves=-1,
    tasks=("any",),
    operator="gain",
    entails=("intensity_sd_db",),
    cites="duffy2019motor",
)
def loudness_decay(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Let the level fall toward the end of each phrase, or rise; its middle stays."""
    voice = taken_apart(waveform, sample_rate)
    found = phrases(voice.speech, voice.frame_rate_hz)
    if not found:
        raise NotApplicable("no phrase is as long as 0.5 s")
    frames = np.arange(voice.n_frames)
    edges = [edge for phrase in found for edge in (phrase.start, phrase.stop - 1)]
    halves = [0.5 * (phrase.stop - 1 - phrase.start) / voice.frame_rate_hz for phrase in found]
    ramp = np.interp(frames, edges, [time for half in halves for time in (-half, half)])
    before = voice.once("level slope", lambda: level_slope_db_per_s(voice.level_db, voice.speech, voice.frame_rate_hz))

    def moved(result: Array) -> float:
        return before - level_slope_db_per_s(*_level(voice, result), voice.frame_rate_hz)

    limit = 30.0 / max(float(np.abs(ramp).max()), 1e-3)
    edited = _reached(
        voice, dose, lambda s: gained(voice, -s * ramp), moved, 1.0, -limit, limit, "the slope of loudness"
    )
    return voice.leveled(edited)


@SIGNS.register(
    label="consonant precision",
    more="more precise in its consonants",
    less="less precise in its consonants",
    unit="dB",
    measure="burst_contrast_db",
    moves=1,
    tasks=("reading", "ddk"),
    operator="gain",
    entails=("intensity_sd_db", "pause_ratio", "voiced_share", "spectral", "band"),
    cites="duffy2019motor",
)
def consonant_precision(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Weaken bursts and frication and let the voice hum through closures, or sharpen bursts and quiet closures.

    Half of the dose goes to the bursts, half to the closures. Raises NotApplicable for fewer than two stops.
    """
    voice = taken_apart(waveform, sample_rate)
    found = voice.stops
    if len(found) < FEWEST_STOPS:
        raise NotApplicable(f"there are {len(found)} stops, and it takes {FEWEST_STOPS}")
    n, rate = voice.waveform.shape[0], sample_rate
    burst, closed = voice.to_samples(voice.kinds == UNVOICED), np.zeros(n)
    for first, last in found:
        burst[first:last] = 0.0
        burst[last - rate // 500 : last + int(BURST_S * rate)] = 1.0
        closed[first : last - rate // 500] = 1.0
    width = max(3, int(0.004 * rate))
    # Twice a moving mean is a ramp without corners.
    burst, closed = (uniform_filter1d(uniform_filter1d(x, width), width) for x in (burst, closed))
    hum = _hum(voice) if dose < 0 else np.zeros(n)
    silent = np.zeros(n)
    for first, last in found:
        quarter = (last - first) // 4
        silent[first:last] = np.sqrt((voice.waveform[first + quarter : last - quarter] ** 2).mean())
    before = voice.once("burst contrast", lambda: float(burst_contrasts_db(voice.waveform, rate, found).mean()))

    def edit(strength: float) -> Array:
        gain = 10 ** (strength / 2 * (burst - max(np.sign(strength), 0.0) * closed) / 20)
        louder = np.sqrt(max(10 ** (max(-strength, 0.0) / 2 / 10) - 1, 0.0))
        return np.asarray(voice.waveform * gain + louder * silent * closed * hum, dtype=np.float64)

    # At the recording's own stops: a burst that is nearly gone is found no more, or its vowel is taken for it.
    def moved(result: Array) -> float:
        return float(burst_contrasts_db(result, rate, found).mean()) - before

    return voice.leveled(_reached(voice, dose, edit, moved, 1.0, -80.0, 40.0, "the contrast of stops"))


def _hum(voice: Voice) -> Array:
    """What a voice leaves of itself behind closed lips (N,): pulses at the pitch around, below 400 Hz, at power 1."""
    phase = np.cumsum(voice.to_samples(voice.f0)) / voice.sample_rate
    pulses = np.diff(np.floor(phase), prepend=0.0)
    low = sosfilt(butter(3, 400.0, fs=voice.sample_rate, output="sos"), pulses - pulses.mean())
    return np.asarray(low / low.std(), dtype=np.float64)


@SIGNS.register(
    label="vowel space",
    more="farther from the neutral vowel",
    less="nearer to the neutral vowel",
    unit="octaves",
    measure="formant_distance_octaves",
    moves=1,
    tasks=("vowel", "reading"),
    operator="filter",
    entails=("f1_hz", "f2_hz", "f2_range", "band", "spectral", "shimmer", "hnr_db", "cpps_db"),
    cites="sapir2010formant",
)
def vowel_space(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Move the first two resonances away from a neutral tube's, or toward them; loudness stays."""
    voice = taken_apart(waveform, sample_rate)
    tracks = voice.formants
    voiced = voice.centers[voice.track.voiced]
    centers = voiced[:: max(1, voiced.shape[0] // _FORMANT_FRAMES)]
    median = float(np.median(voice.track.f0_hz[voice.track.voiced]))
    neutral = neutral_hz(median)
    gate = np.interp(voice.centers, np.arange(voice.waveform.shape[0]), voice.voicing)

    def distance(values: Array) -> float:
        found = formants_hz(values - values.mean(), sample_rate, centers)
        found = found[np.isfinite(found).all(axis=1)]
        return float(formant_distance_octaves(found, median).mean()) if found.shape[0] >= 3 else float("nan")

    # What the voice has is the same for every strength.
    own: dict[int, Array] = {}

    def moved_to(places: Sequence[Array], frequency: Array, part: slice) -> Array:
        both = (
            resonance(frequency, place[part], 60 + 0.06 * track[part], sample_rate)
            for track, place in zip(tracks, places, strict=True)
        )
        return np.asarray(next(both) * next(both))

    def edit(strength: float) -> Array:
        goals = [track * (track / goal) ** (strength * gate) for track, goal in zip(tracks, neutral, strict=True)]
        goals[0] = np.clip(goals[0], np.minimum(180.0, tracks[0]), np.maximum(1200.0, tracks[0]))
        goals[1] = np.clip(goals[1], np.maximum(1.1 * goals[0], 500.0), 0.42 * sample_rate)

        def response(frequency: Array, part: slice) -> Array:
            if part.start not in own:
                own[part.start] = moved_to(tracks, frequency, part)
            return moved_to(goals, frequency, part) / own[part.start]

        result = filtered(voice, response)
        reach = int(0.04 * sample_rate)
        before, after = (uniform_filter1d(x**2, reach).clip(1e-14) for x in (voice.waveform, result))
        return np.asarray(result * uniform_filter1d(np.sqrt(before / after), reach), dtype=np.float64)

    before = voice.once("formant distance", lambda: distance(voice.waveform))
    if not before > 0:
        raise NotApplicable("resonances were found in too little of the voice")
    edited = _reached(voice, dose, edit, lambda y: distance(y) - before, 1 / before, -1.0, 2.0, "the resonances")
    return voice.leveled(edited)


@SIGNS.register(
    label="weak voice",
    more="weaker (spectrum falling more steeply)",
    less="more pressed (spectrum falling less steeply)",
    unit="dB/octave",
    measure="spectral_tilt_db_per_octave",
    moves=-1,
    tasks=("vowel", "reading"),
    operator="filter",
    entails=("band", "spectral", "hnr_db", "cpps_db", "shimmer"),
    cites="hillenbrand1996acoustic",
)
def spectral_tilt(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Let the spectrum of the voice fall more steeply from 200 to 4000 Hz, or less."""
    voice = taken_apart(waveform, sample_rate)
    if (voice.kinds == VOICED).sum() < 10:
        raise NotApplicable("the recording has under 0.1 s of voice")
    centers = voice.centers[voice.track.voiced]

    def slope(values: Array) -> float:
        power = mean_power(values - values.mean(), sample_rate, centers)
        return spectral_measures(*power)["spectral_tilt_db_per_octave"]

    def edit(strength: float) -> Array:
        def response(frequency: Array, part: slice) -> Array:
            octaves = np.log2(np.clip(frequency, *_TILT_BAND_HZ) / _TILT_PIVOT_HZ)
            return np.asarray(10 ** (-strength * octaves / 20), dtype=np.float64)

        return np.asarray(voice.waveform + voice.voicing * (filtered(voice, response) - voice.waveform))

    before = voice.once("tilt", lambda: slope(voice.waveform))
    edited = _reached(voice, dose, edit, lambda y: before - slope(y), 1.0, -24.0, 24.0, "the tilt")
    return voice.leveled(edited)


@SIGNS.register(
    label="rate",
    more="faster",
    less="slower",
    unit="syllables/s",
    measure="syllable_rate_hz",
    moves=1,
    tasks=("reading", "ddk"),
    operator="time",
    entails=("pause_ratio", "intensity_sd_db", "syllable", "level_slope", "voiced_share"),
    cites="skodda2008speech",
)
def rate(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Make speech faster or slower; pauses and bursts last as long as before."""
    voice = taken_apart(waveform, sample_rate)
    before = _timing(voice, voice.waveform).get("syllable_rate_hz", float("nan"))
    if not np.isfinite(before):
        raise NotApplicable("there are no syllables to count")
    moving = voice.to_samples(voice.kinds != PAUSE, 0.02)
    for _, burst in voice.stops:
        moving[max(0, burst - int(0.005 * sample_rate)) : burst + int(BURST_S * sample_rate)] = 0.0

    def edit(strength: float) -> Array:
        return retimed(voice, 1 + (1 / (1 + strength) - 1) * moving)

    def moved(result: Array) -> float:
        return float(_timing(voice, result).get("syllable_rate_hz", float("nan"))) - before

    edited = _reached(voice, dose, edit, moved, 1 / before, -0.5, 1.0, "the syllable rate")
    return np.asarray(edited * np.sqrt((voice.waveform**2).mean() / (edited**2).mean()), dtype=np.float64)


def _timing(voice: Voice, result: Array) -> dict[str, float]:
    return timing(*_level(voice, result), voice.frame_rate_hz)


@SIGNS.register(
    label="pauses",
    more="richer in pauses",
    less="poorer in pauses",
    unit="%",
    measure="pause_ratio",
    moves=1,
    tasks=("reading",),
    operator="time",
    entails=("syllable", "level_slope"),
    cites="skodda2008speech",
)
def pauses(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Make the pauses inside of a recording longer by more of their own background, or shorter.

    Pauses are silences of at least 150 ms, as the measure counts them: closures of stops are shorter.
    """
    voice = taken_apart(waveform, sample_rate)
    hop, fade = voice.hop_samples, max(2, int(_FADE_S * sample_rate))
    spoken = np.flatnonzero(voice.speech)
    if spoken.shape[0] < 10:
        raise NotApplicable("the recording has under 0.1 s of speech")
    margin = max(1, round(0.02 * voice.frame_rate_hz))
    found = [
        (run.start + spoken[0] + margin, run.stop + spoken[0] - margin)
        for run in _runs_of(~voice.speech[spoken[0] : spoken[-1] + 1])
        if run.stop - run.start >= SHORTEST_PAUSE_S * voice.frame_rate_hz
    ]
    if not found:
        raise NotApplicable("there is no pause of 150 ms inside of the recording")
    before = 100 * _timing(voice, voice.waveform)["pause_ratio"]
    inside = (spoken[-1] + 1 - spoken[0]) * hop

    def edit(strength: float) -> Array:
        # Seconds that all pauses together gain, each its share.
        parts, at = [], 0
        total = sum(last - first for first, last in found) * hop
        for first, last in found:
            begin, end = first * hop, last * hop
            extra = round(strength * inside * (end - begin) / total)
            middle, cut = (begin + end) // 2, max(0, -extra)
            stop, again = middle - cut // 2, middle + cut - cut // 2
            parts.append(voice.waveform[at : stop + fade // 2])
            if extra > fade:
                parts.append(_background(voice.waveform[begin:end], extra + fade, fade))
            at = again - (fade - fade // 2)
        parts.append(voice.waveform[at:])
        return spliced(parts, fade)

    def moved(result: Array) -> float:
        return 100 * _timing(voice, result).get("pause_ratio", 0.0) - before

    shortest = -sum(max(0, last - first - round(0.1 * voice.frame_rate_hz)) for first, last in found) * hop / inside
    return _reached(voice, dose, edit, moved, 0.01 / (1 - before / 100) ** 2, shortest, 3.0, "the share of pauses")


def _background(pause: Array, n_samples: int, fade: int) -> Array:
    """More of a pause (n,): itself forth and back, crossfaded, cut to length."""
    pieces, have = [pause], pause.shape[0]
    while have < n_samples:
        pieces.append(pieces[-1][::-1])
        have += pause.shape[0] - fade
    return spliced(pieces, fade)[:n_samples] if len(pieces) > 1 else pause[:n_samples]


def measured(name: str, values: Mapping[str, float]) -> float:
    """Value of a sign's own measure among `acoustics.measures`, in the unit of its doses."""
    measure = SIGNS.facts(name)["measure"]
    return SHARES.get(measure, 1.0) * values[measure]


def achieved(name: str, before: Array, after: Array, sample_rate: int) -> float:
    """How far a sign's own measure moved from one waveform to the other, in the direction and unit of its doses.

    Bursts and closures are looked for in the first alone: one that is nearly gone is found no more in the second.
    """
    facts = SIGNS.facts(name)
    if facts["measure"] == "burst_contrast_db":
        found = stops(before, sample_rate)
        first, last = (float(burst_contrasts_db(x, sample_rate, found).mean()) for x in (before, after))
    else:
        first, last = (measured(name, measures(x, sample_rate)) for x in (before, after))
    return float(facts["moves"] * (last - first))


def turned(
    registry: Registry[Dial],
    name: str,
    waveform: Any,
    sample_rate: int,
    dose: float,
    *,
    seed: int = 0,
) -> Array:
    """Turn a dial of SIGNS or CONDITIONS, with the seed where it takes one. A sign is edited within the band of a
    narrow line (`Voice.in_band`); a condition of the recording may fill what was empty."""
    dial = registry[name]
    takes_seed = "seed" in inspect.signature(dial).parameters
    result = np.asarray(dial(waveform, sample_rate, dose, **({"seed": seed} if takes_seed else {})), dtype=np.float64)
    return taken_apart(waveform, sample_rate).in_band(result) if registry is SIGNS else result
