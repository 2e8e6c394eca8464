"""What a model was made for, and whether a recording is like that: of anything else it has no answer to give.

A scope is written by training from its own recordings: what was said, in which band, by one speaker, and in which range
their measures lie. A recording is compared with it before a class is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from speechxai.classifiers.cnn import mel_filters
from speechxai.signal.acoustics import energy_db, f0_hz, perturbation, speech_frames, task_kind
from speechxai.signal.pitch import PitchTrack
from speechxai.signal.stft import spectrogram
from speechxai.types import Array, Recording, StftConfig

State = Literal["inside", "outside", "unknown"]

QUANTILES = (0.01, 0.99)
"""Of the training recordings, so that one odd recording in a hundred does not widen a range."""

TELEPHONE_HZ = 4_000.0
"""Where the band of a telephone ends."""

SIDE_FRAMES = 50
"""Half a second of voice on either side of a moment, in which a change of speaker is looked for."""

N_CEPSTRA = 12
MOST_DEVIATIONS = 8.0
"""A coordinate that is further off says no more: an octave error of the pitch tracker is no speaker."""

SILENT_DB = -70.0
"""Less than this above a band's edge is what resampling and 16 bits leave."""


LEAST_JITTER_PERCENT, LEAST_SHIMMER_PERCENT = 0.05, 0.6
"""No voice repeats itself closer from cycle to cycle: of 81 held vowels over the telephone the lowest values are .20 %
and 3.1 %. Below stand dial tones, instruments and programs."""

REGULARITY_S = 5.0
"""So much of the middle of a recording is asked how regular it is."""


class Measure(NamedTuple):
    """One measure of a recording that a scope has a range of.

    Args:
        name: what it is.
        words: the same of a recording, for the middle of a sentence; `{}` stands for the value.
        show: writes a value.
        margin: added to both ends of the training range; of ratios the factor. So much says nothing yet about the kind
            of recording.
        ratio: whether values are compared by their ratio.
        low, high: a range that reaches so far is open at that end.
        manner: whether it tells how something is said, and so counts in TOGETHER; who says it and for how long do not.
    """

    name: str
    words: str
    show: Callable[[float], str]
    margin: float
    ratio: bool = False
    low: float = -math.inf
    high: float = math.inf
    manner: bool = True


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _written(unit: str, digits: int = 1, sign: int = 1) -> Callable[[float], str]:
    return lambda value: f"{sign * value:.{digits}f} {unit}"


MEASURES: Mapping[str, Measure] = {
    "duration_s": Measure("duration", "it lasts {}", _written("s"), 2.0, ratio=True, manner=False),
    "voiced_share": Measure(
        "share of the time with a voice", "a voice sounds for {} of the time", _percent, 0.1, low=0.0, high=1.0
    ),
    "pause_share": Measure("share of the time in pauses", "pauses take {} of the time", _percent, 0.1, low=0.0),
    "loudness_peaks_hz": Measure(
        "rise and fall of the loudness", "its loudness rises and falls at {}", _written("Hz"), 0.75, low=0.0
    ),
    "f0_hz": Measure("pitch", "its pitch is {}", _written("Hz", 0), 2 ** (3 / 12), ratio=True, manner=False),
    "f0_spread_semitones": Measure(
        "movement of the pitch, middle half", "its pitch moves by {}", _written("semitones"), 1.0, low=0.0
    ),
    "voicing_strength": Measure(
        "likeness of the voice's cycles",
        "its voice repeats from cycle to cycle to {}",
        _percent,
        0.05,
        low=0.0,
        high=0.95,
    ),
    "high_band_db": Measure(
        "sound above the band, under the rest",
        "its sound above the band lies {} under the rest",
        _written("dB", 0, -1),
        10.0,
        low=SILENT_DB,
    ),
    "change": Measure(
        "largest change of the voice within a second",
        "its voice changes by {} within a second, as when a second speaker begins",
        _written("deviations"),
        0.5,
        low=5.0,
    ),
}
"""What is measured, in the order in which it is said."""

TOGETHER, TOGETHER_MARGIN = "together", 0.25
"""Read speech over a telephone may lie inside every single range, at the edge of all of them: their sum has a range."""


class Scope(BaseModel):
    """What a model was made for.

    Args:
        tasks: what the training speakers did, such as "vowel-a"; empty where that is not known.
        languages: they spoke; empty where that is not known.
        device: what recorded them, in words; "" where nobody said it.
        band_hz: highest frequency that the network hears.
        n_speakers: in a recording.
        synthetic: whether the training voices were made by a program.
        regular: whether the training voices themselves are more regular than a person's, see `_regularity`.
        n_recordings: that the ranges come from.
        share_inside: of the training recordings that lie inside the ranges of those of other folds.
        ranges: lowest and highest value of MEASURES, and of their sum, TOGETHER.
        typical: median of MEASURES.
        deviations: usual change of pitch (semitones) and cepstra (dB) from half a second to the next, for `change`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    tasks: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    device: str = ""
    band_hz: float = Field(gt=0)
    n_speakers: Literal[1] = 1
    synthetic: bool = False
    regular: bool = False
    n_recordings: int = Field(default=0, ge=0)
    share_inside: float = Field(default=1.0, ge=0, le=1)
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict)
    typical: dict[str, float] = Field(default_factory=dict)
    deviations: tuple[float, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Whether a recording lies inside a scope, and in one sentence why not."""

    state: State
    reason: str = ""

    @property
    def named(self) -> bool:
        """Whether a class may be named: not outside."""
        return self.state != "outside"


UNKNOWN = Verdict(
    "unknown",
    "The model does not say what it was made for, so nobody knows whether it may be asked about this recording.",
)


@dataclass(frozen=True, eq=False)
class _Course:
    """A recording frame by frame, every 10 ms: pitch (T,) Hz, voicing strength (T,), speech (T,), level (T,) dB."""

    f0_hz: Array
    strength: Array
    speech: Array
    level_db: Array
    hop_samples: int


def _samples(recording: Recording) -> Array:
    """A recording without its offset (N,)."""
    waveform = recording.waveform.numpy().astype(np.float64)
    return np.asarray(waveform - waveform.mean())


def _course(waveform: Array, sample_rate: int) -> _Course:
    hop = max(1, sample_rate // 100)
    pitch, strength = f0_hz(waveform, sample_rate, hop)
    level = energy_db(waveform, sample_rate, hop, len(pitch))
    return _Course(pitch, strength, speech_frames(level), level, hop)


def _voice(waveform: Array, sample_rate: int, course: _Course) -> Array:
    """Pitch, semitones, and cepstra up to 4 kHz, dB, of the voiced frames (1 + N_CEPSTRA, V)."""
    import torch
    from scipy.fft import dct

    hop, length = max(1, sample_rate // 100), sample_rate // 40
    stft = StftConfig(1 << (length - 1).bit_length(), length, hop, "hann", sample_rate, "linear")
    magnitude = spectrogram(torch.from_numpy(waveform).float()[None], stft).magnitude[0]
    filters = mel_filters(stft, 24, 100.0, min(TELEPHONE_HZ, sample_rate / 2))
    level_db = 10 * np.log10((filters.T @ magnitude.square()).numpy() + 1e-12)
    cepstra = dct(level_db, axis=0, norm="ortho")[1 : N_CEPSTRA + 1] / math.sqrt(24)
    voiced = np.flatnonzero(np.isfinite(course.f0_hz) & course.speech)
    return np.concatenate([12 * np.log2(course.f0_hz[voiced])[None], cepstra[:, voiced]])


def _steps(voice: Array) -> Array:
    """How far the medians of half a second of voice lie from those of the half second before (S, 1 + N_CEPSTRA)."""
    n = SIDE_FRAMES
    windows = (
        np.lib.stride_tricks.sliding_window_view(voice, n, axis=1)[:, ::5] if voice.shape[1] >= n else voice[:, :0]
    )
    if windows.shape[1] <= n // 5:
        return np.zeros((0, voice.shape[0]))
    medians = np.median(windows, axis=2)
    steps = medians[:, n // 5 :] - medians[:, : -n // 5]
    # An octave up or down is an error of the tracker or a break of the voice, and no other person.
    steps[0] = (steps[0] + 6) % 12 - 6
    return np.asarray(np.abs(steps.T))


def _change(steps: Array, deviations: Array) -> float:
    """The largest step, in deviations; NaN where there is less than a second of voice."""
    if not len(steps):
        return math.nan
    off = np.minimum(steps / np.maximum(deviations, 1e-3), MOST_DEVIATIONS)
    return float(np.sqrt((off**2).sum(axis=1).max()))


def _peaks(course: _Course, inside: slice) -> int:
    """How often the loudness rises and falls by 4 dB."""
    from scipy.signal import find_peaks  # its import takes a second

    level = np.maximum(course.level_db[inside], course.level_db.max() - 40)
    smooth = np.convolve(level, np.ones(4) / 4, "same")
    return len(find_peaks(smooth, prominence=4.0, distance=8)[0])


def _high_band_db(waveform: Array, sample_rate: int, edge_hz: float) -> float:
    """Energy above a frequency over that of the whole, dB, at least SILENT_DB; NaN where there is nothing above it."""
    if edge_hz >= sample_rate / 2:
        return math.nan
    from scipy.fft import next_fast_len

    n_fft = next_fast_len(len(waveform), real=True)
    power = np.abs(np.fft.rfft(waveform, n_fft)) ** 2
    above = power[round(edge_hz * n_fft / sample_rate) :].sum() / max(power.sum(), 1e-20)
    return float(max(SILENT_DB, 10 * np.log10(max(above, 1e-20))))


def _edge_hz(band_hz: float, sample_rate: int) -> float:
    """Where the band ends that a network hears, or the telephone's, where it hears everything."""
    return band_hz if band_hz < sample_rate / 2 else min(TELEPHONE_HZ, band_hz)


def _regularity(recording: Recording, course: _Course) -> str:
    """Jitter and shimmer in words where they are below those of any voice, "" elsewhere or without a voice."""
    rate, hop, samples = recording.sample_rate, course.hop_samples, _samples(recording)
    spare = max(0, len(samples) - round(REGULARITY_S * rate)) // 2 // hop
    samples = samples[spare * hop : len(samples) - spare * hop]
    frames = slice(spare, spare - (-len(samples) // hop) + 1)
    found = perturbation(samples, rate, PitchTrack(course.f0_hz[frames], course.strength[frames], hop))
    jitter, shimmer = found["jitter_local_percent"], found["shimmer_local_percent"]
    if jitter < LEAST_JITTER_PERCENT or shimmer < LEAST_SHIMMER_PERCENT:
        return f"jitter {jitter:.2f} %, shimmer {shimmer:.1f} %"
    return ""


def _measured(recording: Recording, band_hz: float, course: _Course) -> tuple[dict[str, float], Array]:
    """All measures but the change, and the steps that it comes from."""
    rate, waveform = recording.sample_rate, _samples(recording)
    spoken = np.flatnonzero(course.speech)
    found = {"duration_s": recording.duration_s, "high_band_db": _high_band_db(waveform, rate, _edge_hz(band_hz, rate))}
    if not len(spoken):
        return {**found, "voiced_share": 0.0}, np.zeros((0, 1 + N_CEPSTRA))
    inside = slice(int(spoken[0]), int(spoken[-1]) + 1)
    speech, voiced = course.speech[inside], (np.isfinite(course.f0_hz) & course.speech)[inside]
    found |= {
        "voiced_share": float(voiced.mean()),
        "pause_share": float(1 - speech.mean()),
        "loudness_peaks_hz": 100.0 * _peaks(course, inside) / len(speech),
    }
    voice = _voice(waveform, rate, course)
    if voice.shape[1] >= 3:
        low, middle, high = np.percentile(voice[0], [25, 50, 75])
        found |= {
            "f0_hz": float(2 ** (middle / 12)),
            "f0_spread_semitones": float(high - low),
            "voicing_strength": float(np.median(course.strength[course.speech])),
        }
    return found, _steps(voice)


def measured(recording: Recording, scope: Scope, course: _Course | None = None) -> dict[str, float]:
    """MEASURES of a recording at the rate that the model hears; what it does not define is left out. `course`: its own,
    where that is known."""
    if course is None:
        course = _course(_samples(recording), recording.sample_rate)
    found, steps = _measured(recording, scope.band_hz, course)
    if scope.deviations:
        found["change"] = _change(steps, np.asarray(scope.deviations))
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _parts(
    values: Mapping[str, float], ranges: Mapping[str, tuple[float, float]], typical: Mapping[str, float]
) -> dict[str, float]:
    """How far each measure of manner lies on its way from the typical value to the end of its range, 0 to 1."""
    found = {}
    for name, measure in MEASURES.items():
        if not (measure.manner and name in values and name in ranges and name in typical):
            continue
        (low, high), middle, value = ranges[name], typical[name], values[name]
        end, is_open = (high, high >= measure.high) if value > middle else (low, low <= measure.low)
        found[name] = 0.0 if is_open or end == middle else min(1.0, (value - middle) / (end - middle))
    return found


def _deviations(steps: Sequence[Array]) -> Array:
    """Root mean square of all steps (1 + N_CEPSTRA,), those beyond the 99th percentile counted as that."""
    known = np.concatenate(steps)
    if not len(known):
        return np.zeros(0)
    most = np.percentile(known, 99, axis=0)
    return np.asarray(np.sqrt((np.minimum(known, most) ** 2).mean(axis=0)))


Ranges = dict[str, tuple[float, float]]


def _learned(measured: Sequence[Mapping[str, float]], steps: Sequence[Array]) -> tuple[Ranges, dict[str, float], Array]:
    """Ranges, typical values and deviations of training recordings."""
    deviations = _deviations(steps)
    rows = [dict(row) for row in measured]
    if len(deviations):
        rows = [{**row, "change": _change(step, deviations)} for row, step in zip(rows, steps, strict=True)]
    ranges: Ranges = {}
    typical: dict[str, float] = {}
    for name, measure in MEASURES.items():
        values = np.array([row[name] for row in rows if math.isfinite(row.get(name, math.nan))])
        if not len(values):
            continue
        low, middle, high = np.quantile(values, (QUANTILES[0], 0.5, QUANTILES[1]))
        if measure.ratio:
            low, high = low / measure.margin, high * measure.margin
        else:
            low, high = low - measure.margin, high + measure.margin
        ranges[name] = (_short(max(low, measure.low)), _short(max(high, measure.low)))
        typical[name] = _short(middle)
    sums = [sum(_parts({k: v for k, v in row.items() if math.isfinite(v)}, ranges, typical).values()) for row in rows]
    ranges[TOGETHER] = (0.0, _short(float(np.quantile(sums, QUANTILES[1])) + TOGETHER_MARGIN))
    return ranges, typical, deviations


def _short(value: float) -> float:
    return round(float(value), 6)


def learn(
    recordings: Sequence[Recording],
    folds: Sequence[int],
    band_hz: float,
    device: str = "",
    progress: Callable[[int, int, str], None] | None = None,
) -> Scope:
    """Write the scope of a model from its training recordings.

    Args:
        recordings: at the rate that the model hears.
        folds: of each of them: the share that lies inside is counted with the ranges of the other folds.
        band_hz: highest frequency that the network hears.
        device: what recorded them, in words.
        progress: called after every recording.
    """
    rows, steps, n_regular = [], [], 0
    for index, recording in enumerate(recordings):
        course = _course(_samples(recording), recording.sample_rate)
        row, step = _measured(recording, band_hz, course)
        rows.append(row)
        steps.append(step)
        n_regular += bool(_regularity(recording, course))
        if progress is not None:
            progress(index + 1, len(recordings), "measuring the scope")

    inside = 0
    for fold in sorted(set(folds)):
        others = [i for i, other in enumerate(folds) if other != fold]
        ranges, typical, deviations = _learned([rows[i] for i in others], [steps[i] for i in others])
        for i in (i for i, own in enumerate(folds) if own == fold):
            change = {"change": _change(steps[i], deviations)} if len(deviations) else {}
            inside += not _outside(rows[i] | change, ranges, typical)
    ranges, typical, deviations = _learned(rows, steps)

    def known(name: str) -> tuple[str, ...]:
        values = {str(r.task if name == "task" else r.metadata.get(name) or "unknown") for r in recordings}
        return () if "unknown" in values else tuple(sorted(values))

    return Scope(
        tasks=known("task"),
        languages=known("language"),
        device=device,
        band_hz=band_hz,
        synthetic=all(bool(r.metadata.get("synthetic")) for r in recordings),
        regular=n_regular > (1 - QUANTILES[1]) * len(recordings),
        n_recordings=len(recordings),
        share_inside=round(inside / len(recordings), 4),
        ranges=ranges,
        typical=typical,
        deviations=tuple(round(float(d), 6) for d in deviations),
    )


def _outside(
    values: Mapping[str, float], ranges: Mapping[str, tuple[float, float]], typical: Mapping[str, float]
) -> dict[str, float]:
    """Measures outside their range, the furthest first, and how far, in margins; TOGETHER alone where only the sum
    is."""
    values = {name: value for name, value in values.items() if math.isfinite(value)}
    found = {}
    for name, measure in MEASURES.items():
        if name not in values or name not in ranges:
            continue
        value, (low, high) = values[name], ranges[name]
        below, above = value < low and low > measure.low, value > high and high < measure.high
        if not below and not above:
            continue
        end = low if below else high
        if measure.ratio:
            found[name] = abs(math.log(max(value, 1e-9) / max(end, 1e-9))) / math.log(measure.margin)
        else:
            found[name] = abs(value - end) / measure.margin
    if not found and TOGETHER in ranges:
        further = (sum(_parts(values, ranges, typical).values()) - ranges[TOGETHER][1]) / TOGETHER_MARGIN
        return {TOGETHER: further} if further > 0 else {}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _between(name: str, low: float, high: float) -> str:
    """A range as people read it: 0.8 to 13.9 s, at most 41 %, at least 36 dB."""
    measure = MEASURES[name]
    turned = name == "high_band_db"  # said the other way round: so many dB under the rest
    if low <= measure.low:
        return f"{'at least' if turned else 'at most'} {measure.show(high)}"
    if high >= measure.high:
        return f"{'at most' if turned else 'at least'} {measure.show(low)}"
    first, second = (measure.show(value) for value in ((high, low) if turned else (low, high)))
    return f"{first.rpartition(' ')[0]} to {second}"


def range_rows(scope: Scope) -> list[tuple[str, str]]:
    """The ranges of a scope for people: what is measured, and between which values."""
    edge = f"above {_edge_hz(scope.band_hz, 2 * round(scope.band_hz)) / 1000:g} kHz"
    found = [
        (measure.name.replace("above the band", edge), _between(name, *scope.ranges[name]))
        for name, measure in MEASURES.items()
        if name in scope.ranges
    ]
    if TOGETHER in scope.ranges:
        sum_of = "sum of these but duration and pitch, each from 0 (typical) to 1 (the end of its range)"
        found.append((sum_of, f"at most {scope.ranges[TOGETHER][1]:.1f}"))
    return found


def _other_task(task: str, tasks: Sequence[str]) -> bool:
    """Whether something else was said than in training, as far as both names say what."""
    kind = task_kind(task)
    kinds = {task_kind(other) for other in tasks}
    if not tasks or task in tasks or "unknown" in kinds | {kind}:
        return False
    if kind not in kinds:
        return True
    letters = {other.partition("-")[2] for other in tasks if task_kind(other) == kind}
    return kind == "vowel" and all(letters) and task.partition("-")[2] not in ("", *letters)


MOST_REASONS = 3
"""Ways in which a recording is outside that its sentence names."""


def compare(scope: Scope | None, recording: Recording) -> Verdict:
    """Compare a recording with what a model was made for.

    Args:
        scope: of the model; None where it says nothing.
        recording: at the rate that the model hears.
    """
    if scope is None or not scope.ranges:
        return UNKNOWN
    if _other_task(recording.task, scope.tasks):
        return Verdict("outside", f"The model learned from {', '.join(scope.tasks)}, and this is {recording.task}.")
    language = str(recording.metadata.get("language") or "unknown")
    spoken = {"unknown", *scope.languages}
    if scope.languages and language not in spoken and task_kind(recording.task) != "vowel":
        text = f"The model learned from speech in {', '.join(scope.languages)}, and this is in {language}."
        return Verdict("outside", text)
    values = {"duration_s": recording.duration_s}
    off = _outside(values, scope.ranges, scope.typical)
    course = None
    if off.get("duration_s", 0.0) < 1:  # what is twice too long need not be measured
        course = _course(_samples(recording), recording.sample_rate)
        values = measured(recording, scope, course)
        off = _outside(values, scope.ranges, scope.typical)
    if not off:
        regularity = "" if scope.regular or course is None else _regularity(recording, course)
        if not regularity:
            return Verdict("inside")
        text = f"It is more regular than any person's voice ({regularity}): a tone, an instrument or a program."
        return Verdict("outside", text)
    edge = f"above {_edge_hz(scope.band_hz, recording.sample_rate) / 1000:g} kHz"
    if TOGETHER in off:
        parts = _parts(values, scope.ranges, scope.typical)
        names = sorted(parts, key=lambda name: -parts[name])
        told = {name: f"usually {MEASURES[name].show(scope.typical[name])}" for name in names}
        began = "It is unlike what the model learned from, not in one way but in several at once"
    else:
        names = list(off)
        told = {name: _between(name, *scope.ranges[name]) for name in names}
        for name in names:  # a value that is written as the end of its range is
            if MEASURES[name].show(values[name]) in {MEASURES[name].show(end) for end in scope.ranges[name]}:
                told[name] = f"just outside of {told[name]}"
        began = "It is unlike what the model learned from"
    said = [f"{MEASURES[name].words.format(MEASURES[name].show(values[name]))} ({told[name]})" for name in names]
    said = said[:MOST_REASONS]
    text = (said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}").replace("above the band", edge)
    return Verdict("outside", f"{began}: {text}.")
