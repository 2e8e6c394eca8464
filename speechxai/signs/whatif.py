"""What would the model say if the voice were less breathy, and everything else stayed?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from scipy.fft import rfft
from scipy.ndimage import uniform_filter1d

from speechxai.classifiers.base import logits
from speechxai.classifiers.fit import heard
from speechxai.classifiers.network import as_network, stated
from speechxai.errors import NotApplicable, SpeechXAIError, did_you_mean
from speechxai.signal.acoustics import measures, task_kind
from speechxai.signs.conditions import CONDITIONS
from speechxai.signs.dials import SIGNS, defined_on, measured, turned
from speechxai.signs.people import Spread, of_people
from speechxai.signs.voice import Voice, analyses, filtered, gained, repitched, retimed, taken_apart
from speechxai.types import Array, Recording

STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Doses of a sign, in standard deviations of people."""

N_PLACEBOS = 2
SMALLEST_DB = 0.5
"""Log-spectral distances below are as good as none: effects are not divided by less."""
UNDONE = 1e-3
"""A step that changes the logit margin by less is undone by the model's own input."""

CONFUSABLE = (
    frozenset({"noise_floor", "breathiness"}),
    frozenset({"spectral_tilt", "band_limit"}),
    frozenset({"reverberation", "consonant_precision"}),
    frozenset({"tremor", "loudness_range"}),
    frozenset({"roughness", "breathiness"}),
    frozenset({"spectral_tilt", "breathiness"}),
)
"""Dials that change nearly the same in a spectrogram: told apart, and counted both ways. The last: breath fills the
upper bands, so its dial names the tilt among what it entails."""

_BANDS, _FLOOR_DB, _HELD_SHARE = 40, -70.0, 0.6


@dataclass(frozen=True)
class Point:
    """What the model says at one dose.

    Args:
        dose: in the unit of the dial.
        steps: the same in standard deviations, or for a recording dial in registered steps.
        margin: logit of the class over the highest of the others; NaN where the dial gives no such dose.
        probability: of the class.
        within: whether the voice stays within the range of people; always for recording dials.
        distance_db: log-spectral distance from the recording, dB.
        reason: why there is no answer; "" where there is one.
    """

    dose: float
    steps: float
    margin: float
    probability: float
    within: bool
    distance_db: float
    reason: str = ""

    @property
    def answered(self) -> bool:
        """Whether the model was asked."""
        return not self.reason


@dataclass(frozen=True)
class Curve:
    """One dial turned.

    Args:
        name: of the dial.
        family: "sign" or "condition".
        points: by rising dose; one of them is dose 0.
        effect: largest change of the margin at the registered step, signed; NaN where no step was given.
        at: dose of it.
        placebos: change of the margin by random changes of the same kind and log-spectral distance.
        round_trip: change of the margin that is left after the step and back; NaN for dials that do not go back.
        turns: the smallest dose within the range of people at which the answer is another; None without one.
    """

    name: str
    family: Literal["sign", "condition"]
    points: tuple[Point, ...]
    effect: float
    at: float
    placebos: tuple[float, ...]
    round_trip: float
    turns: Point | None

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the dial says of itself."""
        return (SIGNS if self.family == "sign" else CONDITIONS).facts(self.name)

    @property
    def strength(self) -> float:
        """Size of the effect; 0 where there is none."""
        return abs(self.effect) if np.isfinite(self.effect) else 0.0

    @property
    def floor(self) -> float:
        """What the effect must exceed: the largest of placebos and round trip."""
        return max((abs(x) for x in (*self.placebos, self.round_trip) if np.isfinite(x)), default=float("nan"))

    @property
    def beats_placebo(self) -> bool:
        """Whether the model answers more than to a random change of the same kind and size, and to the round trip."""
        return self.strength > self.floor

    @property
    def undone(self) -> bool:
        """Whether the model's own input takes the change back, as normalization does with level."""
        return np.isfinite(self.effect) and self.strength < UNDONE

    @property
    def per_db(self) -> float:
        """Largest change of the margin for each dB of log-spectral distance, over all doses; NaN without any.

        What a network was tuned to: among changes of its input of one size, its answer moves most along what it has
        learned. Distances under SMALLEST_DB count as that.
        """
        middle = next((p.margin for p in self.points if p.dose == 0), float("nan"))
        known = [abs(p.margin - middle) / max(p.distance_db, SMALLEST_DB) for p in self.points if p.dose and p.answered]
        return max((x for x in known if np.isfinite(x)), default=float("nan"))

    @property
    def slope(self) -> float:
        """Change of the margin by one step more: half the difference of both directions where there are two, so that
        what any edit does to the answer falls out; NaN without a step."""
        middle = next((p.margin for p in self.points if p.dose == 0), float("nan"))
        moved = {round(p.steps, 6): p.margin - middle for p in self.points if p.answered}
        up, down = moved.get(1.0), moved.get(-1.0)
        if up is not None and down is not None:
            return 0.5 * (up - down)
        if up is None and down is None:
            return self.effect
        return float(up if up is not None else -down)  # type: ignore[operator]


@dataclass(frozen=True, eq=False)
class WhatIf:
    """All dials turned on one recording.

    Args:
        recording: what was asked about.
        class_names: of the model.
        target: index of the class whose margin and probability the curves show; of a score, which is both, 0.
        predicted: index of the answer.
        margin, probability: of the recording as it is.
        kind: of the task: "vowel", "ddk" or "reading".
        curves: of dials that apply, strongest effect first, signs and recording dials apart.
        not_applicable: why the others do not.
        n_passes: recordings that went through the model, for the curves and for placebos and round trips.
        sounds: the edited waveforms at the registered steps and where the answer turns, by dial and dose.
        seed: of everything random.
        unit: of a score; "" where the network names classes.
    """

    recording: Recording
    class_names: tuple[str, ...]
    target: int
    predicted: int
    margin: float
    probability: float
    kind: str
    curves: tuple[Curve, ...]
    not_applicable: Mapping[str, str]
    n_passes: tuple[int, int]
    sounds: Mapping[tuple[str, float], Array] = field(repr=False)
    seed: int = 0
    unit: str = ""

    @property
    def signs(self) -> tuple[Curve, ...]:
        """Curves of signs, strongest effect first."""
        return tuple(curve for curve in self.curves if curve.family == "sign")

    @property
    def conditions(self) -> tuple[Curve, ...]:
        """Curves of recording dials, strongest effect first."""
        return tuple(curve for curve in self.curves if curve.family == "condition")

    @property
    def alarm(self) -> Curve | None:
        """The recording dial to which the model answers, on this recording, more than to any sign and to random changes
        of the same size; None without one. Whether the model does so at all, `cohort.alarms` decides over speakers."""
        strongest = max((curve.strength for curve in self.signs), default=0.0)
        least = max(strongest, UNDONE)
        return next((c for c in self.conditions if c.strength > least and not c.strength <= c.floor), None)


def kind_of(recording: Recording) -> str:
    """Kind of a recording's task; where it is not said, a sound that is held for most of the voice is a vowel."""
    kind = task_kind(recording.task)
    if kind != "unknown":
        return kind
    voiced = taken_apart(recording.waveform, recording.sample_rate).track.voiced
    edges = np.flatnonzero(np.diff(np.concatenate([[False], voiced, [False]]).astype(np.int8)))
    runs = edges[1::2] - edges[::2]
    return "vowel" if runs.size and runs.max() >= _HELD_SHARE * voiced.sum() else "reading"


def as_heard(waveform: Array, normalize: str, offset: str) -> Array:
    """Do with an edited waveform (N,) what the model's input does with a recording."""
    result = waveform - waveform.mean() if offset == "removed" else waveform
    return result / np.abs(result).max() if normalize == "peak" and np.abs(result).max() > 0 else result


def spectral_distance_db(first: Array, second: Array, sample_rate: int) -> float:
    """Log-spectral distance of two waveforms, dB: root of the mean square over 40 bands, 32 ms frames.

    Levels are at least 70 dB under the loudest of the first; where the second is longer or shorter, its time is
    stretched evenly.
    """
    return _Distance(first, sample_rate)(second)


class _Distance:
    """`spectral_distance_db` from one waveform to many: what is the same for all is made once."""

    def __init__(self, first: Array, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        level = self._level(first)
        self.floor = float(level.max()) + _FLOOR_DB
        self.level = np.maximum(level, self.floor)

    def _level(self, waveform: Array) -> Array:
        length = int(0.032 * self.sample_rate)
        padded = np.concatenate([waveform, np.zeros(length)])
        frames = np.lib.stride_tricks.sliding_window_view(padded, length)[:: length // 2]
        spectra = rfft(frames * np.hanning(length), axis=1)
        power = spectra.real**2 + spectra.imag**2
        edges = np.unique(np.geomspace(2, power.shape[1], _BANDS + 1).astype(int))
        return np.asarray(10 * np.log10(np.add.reduceat(power, edges[:-1], axis=1) + 1e-20))

    def __call__(self, second: Array) -> float:
        one, other = self.level, np.maximum(self._level(second), self.floor)
        if one.shape != other.shape:
            other = other[np.rint(np.linspace(0, other.shape[0] - 1, one.shape[0])).astype(int)]
        return float(np.sqrt(((one - other) ** 2).mean()))


def placebo(operator: str, voice: Voice, seed: int) -> Callable[[float], Array]:
    """Return a random edit of a kind, strength to waveform: what it changes means nothing, how it changes it is alike.

    Args:
        operator: "filter" (a wavy frequency response), "gain" (a wavy level), "noise" (every cell of time and frequency
            for itself), "cycles" (a wavy pitch) or "time" (a wavy tempo).
        voice: what is edited.
        seed: of the waves.
    """
    draw = np.random.default_rng([seed, 31])
    n_frames = voice.n_frames
    amounts, turns = draw.standard_normal(4), draw.uniform(0, 2 * np.pi, 4)

    def waves(position: Array, rates: Sequence[float]) -> Array:
        terms = [a * np.sin(2 * np.pi * r * position + t) for a, r, t in zip(amounts, rates, turns, strict=True)]
        return np.asarray(sum(terms), dtype=np.float64)

    time_s = voice.centers / voice.sample_rate
    slow = waves(time_s, (0.4, 0.8, 1.3, 1.9))
    slow = (slow - slow.mean()) / max(float(slow.std()), 1e-9)
    if operator == "filter":
        return lambda s: voice.leveled(
            filtered(
                voice,
                lambda f, part: np.asarray(
                    10 ** (s * waves(np.log2(np.maximum(f, 50.0)), (0.3, 0.5, 0.8, 1.1)) / 20), dtype=np.float64
                ),
            )
        )
    if operator == "gain":
        return lambda s: voice.leveled(gained(voice, np.clip(s * slow, -25, 25)))
    if operator == "cycles":
        return lambda s: voice.leveled(repitched(voice, 2 ** (np.clip(s * slow, -9, 9) / 12)))
    if operator == "time":
        tempo = voice.to_samples(slow)
        return lambda s: retimed(voice, 2 ** np.clip(s * tempo / 4, -1, 1))
    speckle = uniform_filter1d(draw.standard_normal((n_frames, 64)), 3, axis=0)

    def noise(s: float) -> Array:
        def response(frequency: Array, part: slice) -> Array:
            at = np.minimum((frequency / voice.sample_rate * 128).astype(int), 63)
            return np.asarray(10 ** (s * speckle[part][:, at] / 20), dtype=np.float64)

        return voice.leveled(filtered(voice, response))

    return noise


def _matched(
    edit: Callable[[float], Array],
    distance: _Distance,
    wanted_db: float,
    known: dict[float, float] | None = None,
    like: Mapping[float, float] = MappingProxyType({}),
) -> Array:
    """Edit so strongly that the log-spectral distance is the wanted one; as near as twelve trials come.

    Args:
        edit: strength to waveform.
        distance: of a waveform from the recording.
        wanted_db: the distance.
        known: distance by strength of the same edit, from earlier calls: where to begin. What is tried is added.
        like: distance by strength of another random draw of it: where to begin without.
    """
    known = {} if known is None else known
    best, miss = edit(0.0) if wanted_db <= 0 else None, np.inf
    for _ in range(12):
        strength = _guess(known, wanted_db, like)
        result = edit(strength)
        got = known[strength] = distance(result)
        if abs(got - wanted_db) < miss or best is None:
            best, miss = result, abs(got - wanted_db)
        if miss <= 0.05 * wanted_db or strength > 1e3:
            break
    assert best is not None
    return best


def _guess(known: Mapping[float, float], wanted: float, like: Mapping[float, float]) -> float:
    """Strength to try for a distance, from the distances of those that were tried: on the line through the two nearest,
    both in logarithms, for a distance grows nearly as a power of the strength; from those of a like edit where there
    are none; 1 where nothing is known."""
    there = known or like
    if not there:
        return 1.0
    low = max((s for s, d in known.items() if d <= wanted), default=0.0)
    high = min((s for s, d in known.items() if d > wanted and s > low), default=np.inf)
    nearest, away = _nearest(there, wanted)[0]
    power = 1.0
    for some in (known, like):
        if len(some) > 1:
            (one, first), (other, second) = _nearest(some, wanted)[:2]
            power = float(np.clip((first - second) / np.log(one / other), 0.2, 2.0))
            break
    step = nearest * float(np.clip(np.exp(-away / power), 0.1, 10.0))
    return step if low < step < high else 0.5 * (low + min(high, 10 * max(nearest, 1e-3)))


def _nearest(known: Mapping[float, float], wanted: float) -> list[tuple[float, float]]:
    """Strengths and how far the logarithms of their distances lie from the wanted one's, the nearest first."""
    away = [(s, float(np.log(max(d, 1e-9) / max(wanted, 1e-9)))) for s, d in known.items()]
    return sorted(away, key=lambda each: abs(each[1]))


def window_of(spans: Sequence[tuple[float, float]], n_samples: int, sample_rate: int) -> Array:
    """Window (N,) that is 1 within stretches of time, s, and 0 elsewhere, with ramps of FADE_S inside of them."""
    window = np.zeros(n_samples)
    for start, end in spans:
        first, last = (min(n_samples, max(0, round(t * sample_rate))) for t in (start, end))
        index = np.arange(last - first)
        edge = np.minimum(index, last - first - 1 - index) / max(FADE_S * sample_rate, 1)
        window[first:last] = np.maximum(window[first:last], np.clip(edge, 0, 1))
    return window


def confined(before: Array, edited: Array, window: Array | None) -> Array:
    """Take an edit (N,) where a window (N,) is 1, and the recording elsewhere; the whole edit without one.

    Raises:
        NotApplicable: the edit is shorter or longer, so that nobody can say what lies where.
    """
    if window is None:
        return edited
    if edited.shape != before.shape:
        raise NotApplicable("it changes how long the recording is, so it cannot be kept to some units of it")
    return np.asarray(before + window * (edited - before), dtype=np.float64)


FADE_S = 0.005
"""Ramp of an edit that is kept to units, inside of them."""


class _Placebos:
    """Random edits of one recording, one of each operator and turn, with what is known of their distances."""

    def __init__(self, before: Array, sample_rate: int, seed: int, window: Array | None = None) -> None:
        self.distance = _Distance(before, sample_rate)
        self.before, self.rate, self.seed, self.window = before, sample_rate, seed, window
        self.edits: dict[tuple[str, str, int], tuple[Callable[[float], Array], dict[float, float]]] = {}

    def __call__(self, family: str, operator: str, turn: int, wanted_db: float) -> Array:
        """Return the recording, changed by so many dB as a sign or a condition would change it. Raises NotApplicable
        where it has no cycles to move."""
        key = family, operator, turn
        if key not in self.edits:
            voice = taken_apart(self.before, self.rate)
            whole = placebo(operator, voice, self.seed + turn)
            inside = voice.in_band if family == "sign" else np.asarray
            self.edits[key] = lambda strength: inside(confined(self.before, whole(strength), self.window)), {}
        edit, known = self.edits[key]
        _, like = self.edits.get((family, operator, 0), (None, {}))
        return _matched(edit, self.distance, wanted_db, known, like)


class _Asked:
    """The model, asked once about every waveform: known by its samples, batched by its length, counted."""

    def __init__(self, model: Any, normalize: str, offset: str, device: str) -> None:
        self.model, self.normalize, self.offset, self.device = model, normalize, offset, device
        self.known: dict[bytes, Array] = {}
        self.n = 0

    def __call__(self, waveforms: Sequence[Array]) -> Array:
        """Logits (n, C) of waveforms, each (N,)."""
        taken = [np.ascontiguousarray(as_heard(w, self.normalize, self.offset), dtype=np.float32) for w in waveforms]
        names = [hashlib.sha256(x.tobytes()).digest() for x in taken]
        waiting: dict[int, dict[bytes, Array]] = {}
        for name, samples in zip(names, taken, strict=True):
            if name not in self.known:
                waiting.setdefault(samples.shape[0], {})[name] = samples
        network = as_network(self.model)
        for length, group in waiting.items():
            keys = list(group)
            for start in range(0, len(keys), network.max_batch):
                part = keys[start : start + network.max_batch]
                batch = torch.from_numpy(np.stack([group[key] for key in part])).to(self.device)
                magnitude, phase = heard(network, batch)
                answers = logits(network.for_length(length), magnitude, phase).double().cpu().numpy()
                self.known |= dict(zip(part, answers, strict=True))
                self.n += len(part)
        return np.stack([self.known[name] for name in names])


def _margins(answers: Array, target: int) -> tuple[Array, Array]:
    """Margin of a class over the best of the others, and its probability, each (n,), of logits (n, C); of a score both
    are the score."""
    if answers.shape[1] == 1:
        return answers[:, 0], answers[:, 0]
    others = np.delete(answers, target, axis=1)
    high = answers - answers.max(axis=1, keepdims=True)
    shares = np.exp(high) / np.exp(high).sum(axis=1, keepdims=True)
    return answers[:, target] - others.max(axis=1), shares[:, target]


def resolve(names: Iterable[str]) -> tuple[str, ...]:
    """Names of dials from what was asked for: "all", "signs", "conditions" or dials.

    Raises:
        SpeechXAIError: an unknown name.
    """
    found: list[str] = []
    groups = {"all": (*SIGNS, *CONDITIONS), "signs": tuple(SIGNS), "conditions": tuple(CONDITIONS)}
    for name in names:
        if name not in groups and name not in SIGNS and name not in CONDITIONS:
            raise SpeechXAIError(did_you_mean(name, [*groups, *SIGNS, *CONDITIONS], "dial"))
        found += groups.get(name, (name,))
    return tuple(dict.fromkeys(found))


def what_if(
    model: Any,
    recording: Recording,
    signs: Iterable[str] = ("all",),
    doses: Sequence[float] = STEPS,
    *,
    target: int | None = None,
    normalize: str = "peak",
    offset: str = "removed",
    floors: bool = True,
    seed: int = 0,
    within: Sequence[tuple[float, float]] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> WhatIf:
    """Turn dials on a recording and ask the model at each dose.

    Args:
        model: a classifier.
        recording: at the model's sample rate.
        signs: dials, or "signs", "conditions", "all".
        doses: of signs, in standard deviations of people of this sex in this task; 0 is added where it is missing.
        target: class whose margin and probability are followed; None is the last one, the condition.
        normalize, offset: what the model's input does with level and mean, as in `read_audio`.
        floors: whether to ask about placebos and round trips as well.
        seed: of noise, of placebos.
        within: stretches of time, s, such as those of all stops: the recording changes there alone, by the edit that
            gives the dose where the whole of it changes; dials of time do not apply. None changes the whole.
        progress: called with dials done, dials in all, and the name of the next.

    Raises:
        SpeechXAIError: an unknown dial or class, a sample rate that is not the model's.
    """
    network = as_network(model)
    names = resolve(signs)
    n_classes = len(network.class_names)
    which = n_classes - 1 if target is None else target
    if not 0 <= which < n_classes:
        raise SpeechXAIError(f"The class {target} is not one of this model: {n_classes} classes, from 0.")
    if recording.sample_rate != network.stft.sample_rate:
        raise SpeechXAIError(
            f"{recording.id}: the model hears {network.stft.sample_rate} Hz. Got {recording.sample_rate} Hz: resample."
        )
    before = recording.waveform.detach().cpu().double().numpy()
    device = str(next(iter(getattr(network, "parameters", lambda: [torch.zeros(())])()), torch.zeros(())).device)
    curve_pass, floor_pass = (_Asked(network, normalize, offset, device) for _ in range(2))
    refused: dict[str, str] = {}
    curves: list[Curve] = []
    sounds: dict[tuple[str, float], Array] = {}
    with analyses():
        original = curve_pass([before])
        margin, probability = (float(x[0]) for x in _margins(original, which))
        predicted = int(original[0].argmax())
        kind = kind_of(recording)
        own = measures(before, recording.sample_rate)
        window = None if within is None else window_of(within, before.shape[0], recording.sample_rate)
        placebos_of = _Placebos(before, recording.sample_rate, seed, window)
        for index, name in enumerate(names):
            if progress:
                progress(index, len(names), name)
            try:
                curve = _turn(
                    name,
                    before,
                    recording,
                    kind,
                    own,
                    doses,
                    curve_pass,
                    floor_pass,
                    which,
                    predicted,
                    floors,
                    placebos_of,
                    seed,
                    sounds,
                )
            except NotApplicable as error:
                refused[name] = str(error)
                continue
            curves.append(curve)
        if progress:
            progress(len(names), len(names), "")
    ranked = sorted(curves, key=lambda curve: (curve.family != "sign", -curve.strength))
    return WhatIf(
        recording=recording,
        class_names=tuple(network.class_names),
        target=which,
        predicted=predicted,
        margin=margin,
        probability=probability,
        kind=kind,
        curves=tuple(ranked),
        not_applicable=refused,
        n_passes=(curve_pass.n, floor_pass.n),
        sounds=sounds,
        seed=seed,
        unit=stated(network, "unit", ""),
    )


def _turn(
    name: str,
    before: Array,
    recording: Recording,
    kind: str,
    own: Mapping[str, float],
    doses: Sequence[float],
    ask: _Asked,
    ask_floor: _Asked,
    target: int,
    predicted: int,
    floors: bool,
    placebos_of: _Placebos,
    seed: int,
    sounds: dict[tuple[str, float], Array],
) -> Curve:
    """Turn one dial. Raises NotApplicable where no dose of it can be given."""
    rate = recording.sample_rate
    family: Literal["sign", "condition"]
    if name in SIGNS:
        family, registry = "sign", SIGNS
        if not defined_on(name, kind if task_kind(recording.task) == "unknown" else recording.task):
            tasks = ", ".join(SIGNS.facts(name)["tasks"])
            raise NotApplicable(f"it is defined on {tasks}, and this recording is {kind}")
        stated = SIGNS.facts(name).get("sd")
        sex = str(recording.metadata.get("sex", "any"))
        people = of_people(name, kind, sex) if stated is None else Spread(np.nan, stated, -np.inf, np.inf, 0, "own")
        tried = {step * people.sd: step for step in sorted({*doses, 0.0})}
        level = measured(name, own)
        moves = SIGNS.facts(name)["moves"]
        allowed = {dose: _within(level, moves * dose, people.low, people.high) for dose in tried}
        steps: tuple[float, ...] = (-people.sd, people.sd)
    else:
        family, registry = "condition", CONDITIONS
        facts = CONDITIONS.facts(name)
        steps = facts["steps"]
        tried = {dose: dose / abs(steps[0]) for dose in sorted({*facts["doses"], 0.0})}
        allowed = dict.fromkeys(tried, True)
    edits: dict[float, Array] = {}
    reasons: dict[float, str] = {}
    # The ramps of a window reach above the band of a line again; taken away, a hundredth of the edit at most lies
    # outside of the window.
    inside = taken_apart(before, rate).in_band if family == "sign" and placebos_of.window is not None else np.asarray
    for dose in tried:
        try:
            edit = turned(registry, name, before, rate, dose, seed=seed)
            edits[dose] = inside(confined(before, edit, placebos_of.window))
        except NotApplicable as error:
            reasons[dose] = str(error)
    if not [dose for dose in edits if dose] or 0.0 not in edits:
        raise NotApplicable(next(iter(reasons.values())))
    answers = ask(list(edits.values()))
    margins, probabilities = _margins(answers, target)
    said = dict(zip(edits, zip(margins, probabilities, answers.argmax(axis=1), strict=True), strict=True))
    points = tuple(
        Point(
            dose=dose,
            steps=step,
            margin=float(said[dose][0]) if dose in said else float("nan"),
            probability=float(said[dose][1]) if dose in said else float("nan"),
            within=allowed[dose],
            distance_db=placebos_of.distance(edits[dose]) if dose in edits else float("nan"),
            reason=reasons.get(dose, ""),
        )
        for dose, step in tried.items()
    )
    base = float(said[0.0][0])
    effects = {dose: float(said[dose][0]) - base for dose in steps if dose in said}
    at = max(effects, key=lambda dose: abs(effects[dose])) if effects else float("nan")
    turning = [point for point in points if point.answered and point.within and int(said[point.dose][2]) != predicted]
    turns = min(turning, key=lambda point: abs(point.dose), default=None)
    for dose in {*effects, *([turns.dose] if turns else [])}:
        sounds[name, dose] = edits[dose]
    placebos: tuple[float, ...] = ()
    round_trip = float("nan")
    if floors and effects:
        operator = registry.facts(name)["operator"]
        distance = next(point.distance_db for point in points if point.dose == at)
        made: list[Array] = []
        for turn in range(N_PLACEBOS):
            try:
                made.append(placebos_of(family, operator, turn, distance))
            except NotApplicable:  # no cycles to move
                made.append(placebos_of(family, "noise", turn, distance))
        back: Array | None = None
        if family == "sign" or -at in steps:
            try:
                back = turned(registry, name, edits[at], rate, -at, seed=seed + 1)
                back = inside(confined(edits[at], back, placebos_of.window))
            except NotApplicable:  # what is left does not give so much
                back = None
        floor_margins = _margins(ask_floor([*made, *([] if back is None else [back])]), target)[0] - base
        placebos = tuple(float(x) for x in floor_margins[:N_PLACEBOS])
        round_trip = float(floor_margins[-1]) if back is not None else float("nan")
    return Curve(name, family, points, effects.get(at, float("nan")), at, placebos, round_trip, turns)


def _within(level: float, change: float, low: float, high: float) -> bool:
    """Whether a voice stays within the range of people, or comes nearer to it."""
    if not np.isfinite(level):
        return False
    after = level + change
    return bool(low <= after <= high or (after < low and change > 0) or (after > high and change < 0) or change == 0)
