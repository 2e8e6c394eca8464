"""Why does a model answer otherwise than when it was written? Stage by stage, from the file to the answer.

The reference recordings of a bundle are heard again. Each suspect says which other ways of hearing it would mean.
Where only the answers are seen, as of somebody's own program, every such way is tried, and the one that gives those
answers is the suspect: it is found out and not guessed.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from speechxai.classifiers.base import Classifier
from speechxai.classifiers.bundle import Bundle, load_bundle, open_anyway, own_weights
from speechxai.classifiers.fit import CONSTANT
from speechxai.classifiers.reference import (
    RATES_HZ,
    REFERENCE_FOLDER,
    SOUNDS,
    STAGES,
    observe,
    read_reference,
    settings_of,
    tensors_of,
    versions,
)
from speechxai.doctor.values import FITS, LEFT, LIKELY, SEEN, Diagnosis, Suspicion, ranked
from speechxai.errors import SpeechXAIError, told
from speechxai.registry import Registry, look_in
from speechxai.signal.audio import probe, read_audio, resample
from speechxai.signal.stft import SegmentConfig
from speechxai.types import Array, StftConfig

DEPLOYMENT: Registry[Any] = Registry("suspect", required=("stage", "settings", "sounds", "fix"))
"""Functions `name(base: Way) -> other ways of hearing` of what may differ between then and now.

`stage` is the place in STAGES at which it is first seen, `settings` are beginnings of the keys that state it, and
`sounds` the reference recordings of which alone it can change the stage; none where it may change all.
"""

RTOL = 2e-3
"""Rounding of other processors and of other builds of a library stays below this share of a stage's largest value."""

NEAR = 0.1
"""A way of hearing explains foreign answers that are nearer to its own than this share of their distance to the
model's."""

ROUNDED = 2e-3
"""Answers that differ by less, nats, are the same: programs round their probabilities."""


@dataclass(frozen=True)
class Way:
    """One way of hearing a file; the values of the model's own are `Way.of`.

    Args:
        stft, segment: as the network is to hear; a segment of None is the whole recording.
        channel: "mean", "first", "last" or "sum".
        offset: "removed" or "kept".
        rate: "resampled", "unchanged" (the file's samples are taken for the model's), or Hz that it was brought to.
        resampler: "soxr", "linear", "nearest" or "fft".
        normalize: "peak", "none", "rms", "deviation" or "int16".
        part: "all" segments, or the "first" alone.
        dtype: samples and weights as "float32", "float16" or "bfloat16".
        training: whether the network is left in training.
        calibrated: whether temperature and intercept are applied.
        order: of the classes in the answer.
        output: "logits", or "probabilities" that are taken for logits.
        words: what it means, for people.
    """

    stft: StftConfig
    segment: SegmentConfig | None
    channel: str = "mean"
    offset: str = "removed"
    rate: str | int = "resampled"
    resampler: str = "soxr"
    normalize: str = "peak"
    part: str = "all"
    dtype: str = "float32"
    training: bool = False
    calibrated: bool = True
    order: tuple[int, ...] | None = None
    output: str = "logits"
    words: str = field(default="as the model's settings say", compare=False)

    @classmethod
    def of(cls, bundle: Bundle) -> Way:
        """The model's own way."""
        audio = bundle.config.audio
        return cls(
            bundle.config.stft_config(), bundle.config.segment_config(), offset=audio.offset, normalize=audio.normalize
        )

    def but(self, words: str, **changes: Any) -> Way:
        """Return this way with something changed, and what that means in words."""
        return replace(self, words=words, **changes)


# What may differ, in the order of the walk of the data.
@DEPLOYMENT.register(
    stage="file",
    settings=(),
    sounds=(),
    fix="Restore the folder 'reference' of the model: its recordings are not those that were written.",
)
def reference_files(base: Way) -> list[Way]:
    """The reference recordings themselves are others now."""
    return []


@DEPLOYMENT.register(
    stage="read",
    settings=(),
    sounds=("stereo",),
    fix="Average all channels of a recording, as read_audio does without 'channel'.",
)
def channel_mix(base: Way) -> list[Way]:
    """Channels are not averaged."""
    return [
        base.but("the first channel alone is heard", channel="first"),
        base.but("the last channel alone is heard", channel="last"),
        base.but("channels are added and not averaged", channel="sum"),
    ]


@DEPLOYMENT.register(
    stage="read",
    settings=("audio.offset",),
    sounds=("offset",),
    fix="Subtract the mean of each recording before anything else, or keep it, as [audio] offset says.",
)
def offset(base: Way) -> list[Way]:
    """A constant offset (DC) is treated otherwise."""
    if base.offset == "removed":
        return [base.but("a constant offset (DC) is left in", offset="kept")]
    return [base.but("a constant offset (DC) is removed", offset="removed")]


@DEPLOYMENT.register(
    stage="read",
    settings=("stft.sample_rate",),
    sounds=(),
    fix="Bring every recording to the model's sample rate ([stft] sample_rate) before the spectrogram.",
)
def sample_rate(base: Way) -> list[Way]:
    """Recordings are not brought to the model's sample rate."""
    rates = [r for r in (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000) if r != base.stft.sample_rate]
    return [
        base.but("the samples of the file are taken as they come, without resampling", rate="unchanged"),
        *(base.but(f"recordings are brought to {r} Hz, not {base.stft.sample_rate} Hz", rate=r) for r in rates),
    ]


@DEPLOYMENT.register(
    stage="read",
    settings=(),
    sounds=("stereo", "quiet"),
    fix="Resample with a band-limited filter (soxr 'HQ', as read_audio does), not by interpolation.",
)
def resampler(base: Way) -> list[Way]:
    """Another resampler changes or folds the upper band."""
    return [
        base.but("samples are interpolated linearly, without a filter", resampler="linear"),
        base.but("samples are dropped or repeated, without a filter", resampler="nearest"),
        base.but("the spectrum is cut (an FFT resampler)", resampler="fft"),
    ]


@DEPLOYMENT.register(
    stage="read",
    settings=("audio.normalize",),
    sounds=(),
    fix="Bring recordings to the level that [audio] normalize says: 'peak' divides by the largest absolute sample.",
)
def normalization(base: Way) -> list[Way]:
    """Recordings are brought to another level."""
    words = {
        "peak": "each recording is divided by its peak",
        "none": "the level of the file is kept",
        "rms": "each recording is brought to one effective level (rms .1)",
        "deviation": "each recording is brought to mean 0 and deviation 1",
        "int16": "samples are whole numbers up to 32768",
    }
    return [base.but(said, normalize=name) for name, said in words.items() if name != base.normalize]


@DEPLOYMENT.register(
    stage="spectrum",
    settings=("stft.",),
    sounds=(),
    fix="Compute the spectrogram with the model's [stft]: n_fft, win_length, hop_length, window and scale.",
)
def stft(base: Way) -> list[Way]:
    """Window, hop, length or scale of the spectrogram differ."""
    s = base.stft
    other = "hann" if s.window == "hamming" else "hamming"
    changes: list[tuple[str, dict[str, Any]]] = [
        (f"the window is {other}, not {s.window}", {"window": other}),
        (f"the window is as long as n_fft = {s.n_fft}, not {s.win_length}", {"win_length": s.n_fft}),
        (
            "the spectrogram is " + ("linear" if s.scale == "log1p" else "log1p") + f", not {s.scale}",
            {"scale": "linear" if s.scale == "log1p" else "log1p"},
        ),
    ]
    changes += [
        (f"the hop is {hop} samples, not {s.hop_length}", {"hop_length": hop})
        for hop in dict.fromkeys((s.hop_length // 2, s.hop_length * 2, 160, 256, s.win_length // 4, s.n_fft // 4))
        if hop not in (s.hop_length, 0)
    ]
    changes += [
        (f"the window is {win} samples, not {s.win_length}", {"win_length": win})
        for win in dict.fromkeys((s.win_length // 2, s.win_length * 2, 320, 400, 512))
        if win not in (s.win_length, 0) and win <= s.n_fft
    ]
    changes += [
        (
            f"the window is {other} over n_fft and the hop n_fft / 4, a library's defaults",
            {"window": "hann", "win_length": s.n_fft, "hop_length": s.n_fft // 4},
        )
    ]
    return [base.but(words, stft=replace(s, **values)) for words, values in changes if _possible(s, values)]


def _possible(config: StftConfig, changes: Mapping[str, Any]) -> bool:
    try:
        return replace(config, **changes) != config
    except SpeechXAIError:
        return False


@DEPLOYMENT.register(
    stage="segments",
    settings=("segment.",),
    sounds=(),
    fix="Cut recordings as [segment] says and average the logits of the segments.",
)
def segment_length(base: Way) -> list[Way]:
    """Recordings are cut into other segments."""
    found = []
    if base.segment is not None:
        found.append(base.but("recordings are heard whole, not in segments", segment=None))
        found.append(base.but("only the first segment is heard", part="first"))
        own = base.segment
        found += [
            base.but(f"segments last {s:g} s, not {own.length_s:g} s", segment=SegmentConfig(s, s / 2, own.short))
            for s in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 10.0)
            if s != own.length_s
        ]
        found.append(base.but("segments do not overlap", segment=SegmentConfig(own.length_s, own.length_s, own.short)))
        short: Literal["keep", "pad"] = "pad" if own.short == "keep" else "keep"
        words = "short recordings are padded with silence" if short == "pad" else "short recordings are not padded"
        found.append(base.but(words, segment=SegmentConfig(own.length_s, own.hop_s, short)))
    return found


@DEPLOYMENT.register(
    stage="features",
    settings=("options.",),
    sounds=(),
    fix="Compute the features as the model does: install the versions it was written with, or restore its options.",
)
def features(base: Way) -> list[Way]:
    """The features of the network's front end are computed otherwise."""
    return []


@DEPLOYMENT.register(
    stage="network",
    settings=("architecture",),
    sounds=(),
    fix="Restore the weights' file: it holds another network than the one that was written.",
)
def weights(base: Way) -> list[Way]:
    """Weights are others than those that were written."""
    return []


@DEPLOYMENT.register(
    stage="network", settings=("dtype",), sounds=(), fix="Compute in float32: call .float() on the network."
)
def dtype(base: Way) -> list[Way]:
    """Numbers are less exact than float32."""
    return [base.but(f"the network is computed in {name}", dtype=name) for name in ("bfloat16", "float16")]


@DEPLOYMENT.register(
    stage="network",
    settings=(),
    sounds=(),
    fix="Call eval() on the network before it answers: dropout and batch statistics belong to training.",
)
def training_mode(base: Way) -> list[Way]:
    """The network is left in training."""
    return [base.but("the network is left in training (dropout, statistics of the batch)", training=True)]


@DEPLOYMENT.register(
    stage="network",
    settings=("device",),
    sounds=(),
    fix="Compare with --device cpu: kernels of a device may compute with fewer digits.",
)
def device(base: Way) -> list[Way]:
    """The device computes otherwise."""
    return []


@DEPLOYMENT.register(
    stage="answer",
    settings=("temperature", "intercept"),
    sounds=(),
    fix="Divide the logits by the model's temperature and add its intercept: both stand in its weights.",
)
def temperature(base: Way) -> list[Way]:
    """Calibration is left out, or another one."""
    return [base.but("temperature and intercept are left out", calibrated=False)]


@DEPLOYMENT.register(
    stage="answer",
    settings=("classes",),
    sounds=(),
    fix="Read the answer in the order that the model's 'classes' says.",
)
def label_order(base: Way) -> list[Way]:
    """Classes stand in another order."""
    return [base.but("the classes are read in the opposite order", order=(-1,))]


@DEPLOYMENT.register(
    stage="answer",
    settings=(),
    sounds=(),
    fix="Take the softmax of the logits once: what was given are probabilities already.",
)
def softmax_twice(base: Way) -> list[Way]:
    """Probabilities are taken for logits."""
    return [base.but("the softmax is taken twice", output="probabilities")]


@DEPLOYMENT.register(
    stage="answer",
    settings=(),
    sounds=(),
    fix="Install the versions that the model was written with, or train it again with these.",
)
def library(base: Way) -> list[Way]:
    """A library computes otherwise than when the model was written."""
    return []


# Hearing a file in any of these ways.
def _channels(path: Path) -> Array:
    """Samples (channels, N) of a file, as they are."""
    n = probe(path).n_channels
    return np.stack(
        [
            read_audio(path, sample_rate=None, normalize="none", offset="kept", channel=c, min_duration_s=0.01)
            .waveform.double()
            .numpy()
            for c in range(n)
        ]
    )


def _resampled(samples: Array, rate_hz: int, new_hz: int, how: str) -> Array:
    if rate_hz == new_hz:
        return samples
    if how == "soxr":
        return resample(samples.astype(np.float32), rate_hz, new_hz).astype(np.float64)
    n = round(len(samples) * new_hz / rate_hz)
    if how == "fft":
        from scipy.signal import resample as by_spectrum

        return np.asarray(by_spectrum(samples, n), dtype=np.float64)
    places = np.arange(n) * rate_hz / new_hz
    if how == "nearest":
        return np.asarray(samples[np.minimum(places.astype(int), len(samples) - 1)])
    return np.interp(places, np.arange(len(samples)), samples)


def waveform_of(way: Way, path: Path) -> torch.Tensor:
    """Read a file in one way: (N,) float32."""
    channels, rate_hz = _channels(path), probe(path).sample_rate
    samples = {
        "mean": channels.mean(axis=0),
        "first": channels[0],
        "last": channels[-1],
        "sum": channels.sum(axis=0),
    }[way.channel]
    if way.offset == "removed":
        samples = samples - samples.mean()
    if way.rate != "unchanged":
        wanted = way.stft.sample_rate if way.rate == "resampled" else int(way.rate)
        samples = _resampled(samples, rate_hz, wanted, way.resampler)
    if way.normalize == "peak":
        samples = samples / np.abs(samples).max()
    elif way.normalize == "rms":
        samples = 0.1 * samples / np.sqrt((samples**2).mean())
    elif way.normalize == "deviation":
        samples = (samples - samples.mean()) / samples.std()
    elif way.normalize == "int16":
        samples = samples * 32768
    return torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))


def answer_of(way: Way, classifier: Classifier, path: Path) -> Array:
    """Logits (C,) of a file that is heard in one way.

    Args:
        classifier: of the model; it is left as it is.
    """
    from speechxai.signal.stft import spectrogram

    waveform = waveform_of(way, path)
    if way.part == "first" and way.segment is not None:
        waveform = waveform[: round(way.segment.length_s * way.stft.sample_rate)]
    was, kept = (classifier.stft, classifier.segment, classifier.training), None
    classifier.stft, classifier.segment = way.stft, way.segment
    try:
        spec = spectrogram(waveform[None], way.stft)
        if way.training:
            kept = {key: value.clone() for key, value in classifier.state_dict().items()}
            classifier.train()
        with torch.no_grad(), torch.random.fork_rng(), _inexact(way.dtype):
            torch.manual_seed(0)
            logits = classifier.for_length(spec.n_samples)(spec.magnitude, spec.phase)[0].double().cpu()
    finally:
        classifier.stft, classifier.segment = was[:2]
        classifier.train(was[2])
        if kept is not None:
            classifier.load_state_dict(kept)
    if not way.calibrated:
        logits = (logits - classifier.intercept.double().cpu()) * float(classifier.temperature)
    if way.order is not None:
        logits = logits.flip(-1) if way.order == (-1,) else logits[list(way.order)]
    if way.output == "probabilities":
        logits = logits.softmax(-1)
    return np.asarray(logits.numpy())


def _inexact(name: str) -> Any:
    return torch.autocast("cpu", getattr(torch, name), enabled=name != "float32")


# Comparison of two tables of facts.
def _off(then: Any, now: Any) -> float:
    """How far two facts differ: the largest difference as a share of the largest value then; infinite where their form
    differs."""
    if isinstance(then, str) or isinstance(now, str) or then is None or now is None:
        return 0.0 if then == now else float("inf")
    a, b = (np.asarray(values, dtype=np.float64).reshape(-1) for values in (then, now))
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-6)) if len(a) else 0.0


def stage_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By stage of STAGES and recording, how far the facts differ, where it is more than rounding."""
    found: dict[str, dict[str, float]] = {stage: {} for stage in STAGES}
    for sound in SOUNDS:
        before, after = then.get(sound, {}), now.get(sound, {})
        for stage in STAGES:
            if stage not in before or (stage not in after and "problem" not in after):
                continue
            if stage not in after:
                found[stage][sound] = float("inf")
                break
            keys = before[stage].keys() | after[stage].keys()
            # A constant offset is next to nothing beside the peak.
            scale = {"offset": 1e-4}
            worst = max(
                (
                    min(_off(before[stage].get(k), after[stage].get(k)), _apart(k, before[stage], after[stage], scale))
                    for k in keys
                ),
                default=0.0,
            )
            exact = stage in ("file", "segments")
            if worst > (0 if exact else RTOL):
                found[stage][sound] = worst
    return {stage: sounds for stage, sounds in found.items() if sounds}


def _apart(key: str, then: Mapping[str, Any], now: Mapping[str, Any], scale: Mapping[str, float]) -> float:
    """Difference of a fact that may be 0, beside what counts as one; infinite for all others."""
    if key not in scale or key not in then or key not in now:
        return float("inf")
    difference = abs(float(then[key]) - float(now[key]))
    return 0.0 if difference < scale[key] else difference


def _say(stage: str, sounds: Mapping[str, float]) -> str:
    names = {
        "file": "the reference files",
        "read": "the sound after reading",
        "spectrum": "the spectrogram",
        "segments": "the segments",
        "features": "the features",
        "network": "the network's logits",
        "answer": "the answers",
    }
    largest = max(sounds.values())
    much = "in another form" if np.isinf(largest) else f"by up to {100 * largest:.2g} %"
    same = "; every stage before is the same" if stage != "file" else ""
    who = "all" if len(sounds) == len(SOUNDS) else ", ".join(sounds)
    verb = "differs" if stage in ("read", "spectrum") else "differ"
    return f"{names[stage][0].upper()}{names[stage][1:]} {verb} {much} (recordings: {who}){same}"


# The diagnosis of a bundle.
def _suspicion(name: str, strength: float, evidence: str) -> Suspicion:
    return Suspicion(
        name, strength, evidence if evidence.endswith(".") else f"{evidence}.", DEPLOYMENT.facts(name)["fix"]
    )


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings that differ, by key."""
    keys = dict.fromkeys((*then, *now))
    return {
        key: (then.get(key), now.get(key))
        for key in keys
        if (
            _off(then.get(key), now.get(key)) > 1e-5
            if key in ("temperature", "intercept")
            else then.get(key) != now.get(key)
        )
    }


def _by_settings(changed: Mapping[str, tuple[Any, Any]], first: str) -> Iterator[Suspicion]:
    """Settings that are others than when the reference was written: seen, and first where their stage is."""
    claimed: set[str] = set()
    # A key belongs to the suspect that names most of it: "stft.sample_rate" is no other window.
    names = sorted(DEPLOYMENT, key=lambda name: -max(map(len, DEPLOYMENT.facts(name)["settings"]), default=0))
    for name in names:
        mine = {
            key: values
            for key, values in changed.items()
            if key not in claimed and key.startswith(DEPLOYMENT.facts(name)["settings"] or ("\0",))
        }
        if not mine:
            continue
        claimed |= mine.keys()
        said = "; ".join(f"{key} was {_shown(a)} and is {_shown(b)}" for key, (a, b) in list(mine.items())[:3])
        reaches = bool(first)
        yield _suspicion(name, SEEN if reaches else LIKELY, f"{said[0].upper()}{said[1:]}")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        return f"[{', '.join(_shown(each) for each in value[:8])}]"
    return "nothing" if value is None else str(value)


def _by_weights(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of tensors that differ, those of the calibration left out, which are settings."""
    names = [name for name in dict.fromkeys((*then, *now)) if _off(then.get(name), now.get(name)) > 1e-5]
    return [name for name in names if name not in ("temperature", "intercept")]


def _by_stage(
    differences: Mapping[str, Mapping[str, float]], libraries: str, then: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[Suspicion]:
    """Nothing that is stated differs: the first stage that does, and of which recordings, names the suspect."""
    stage = next(iter(differences))
    sounds = differences[stage]
    said = f"{_say(stage, sounds)}, and no setting is another{libraries}"
    if stage == "file":
        yield _suspicion("reference_files", SEEN, said)
        return
    if stage == "read":
        yield from _reading(sounds, said, then, now)
        return
    if stage == "answer":
        for name in SOUNDS:
            a, b = (each.get(name, {}).get("answer", {}).get("logits") for each in (then, now))
            if a and b and _off(a[::-1], b) < RTOL:
                yield _suspicion(
                    "label_order", FITS, f"The answers are those of before, in the opposite order{libraries}"
                )
                return
        yield _suspicion("temperature", FITS, said)
        return
    if stage == "features":
        yield _suspicion("features", FITS, said)
    elif stage == "spectrum":
        yield _suspicion("stft", FITS, said)
    elif stage == "segments":
        yield _suspicion("segment_length", FITS, said)
    else:
        yield _suspicion("library", FITS, f"{said}; the weights are the same")
        yield _suspicion("device", LEFT, said)
    if libraries:
        yield _suspicion("library", LIKELY, said)


def _reading(
    sounds: Mapping[str, float], said: str, then: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[Suspicion]:
    """Which recordings differ after reading, and how, tells what reading does otherwise."""
    pairs = [(then[s]["read"], now[s].get("read", {})) for s in sounds if "read" in then[s]]
    if set(sounds) == {"stereo"}:
        yield _suspicion("channel_mix", FITS, said)
    elif set(sounds) == {"offset"}:
        yield _suspicion("offset", FITS, said)
    elif any(
        abs(b.get("n_samples", 0) - a["n_samples"]) > 2 or b.get("sample_rate") != a["sample_rate"] for a, b in pairs
    ):
        yield _suspicion("sample_rate", FITS, said)
    elif all(_scaled(a["probes"], b.get("probes", [])) for a, b in pairs):
        yield _suspicion("normalization", FITS, f"{said}; they are scaled and otherwise the same")
    elif all(RATES_HZ[name] != then[name]["read"]["sample_rate"] for name in sounds):
        yield _suspicion("resampler", FITS, f"{said}; the one that needs no resampling is the same")
    else:
        yield _suspicion("library", LIKELY, said)


def _scaled(a: Sequence[float], b: Sequence[float]) -> bool:
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape or not len(x) or not (x @ x):
        return False
    factor = (x @ y) / (x @ x)
    return bool(np.abs(y - factor * x).max() <= RTOL * max(float(np.abs(y).max()), 1e-9))


def library_words(then: Mapping[str, str]) -> list[str]:
    """Libraries whose version is another one now, in words."""
    now = versions()
    return [
        f"{name} {version} then, {now.get(name, 'none')} now"
        for name, version in then.items()
        if now.get(name) != version
    ]


def examine_bundle(
    name_or_path: str | Path,
    script: str | Callable[[str], Any] | None = None,
    allow_code: bool = False,
    place: str = "cpu",
) -> Diagnosis:
    """Hear a model's reference recordings again and name what differs first.

    Args:
        name_or_path: a model's name or folder; "module:function" of a network is tried as `network.check` does.
        script: "module:function" or a function of one's own, which takes a file's path and returns the probabilities or
            logits (C,) of the model's classes as one's own program finds them: it is compared in place of this library.
        allow_code: whether code of others may run.
        place: device.

    Raises:
        SpeechXAIError: no model, or a script that cannot be asked.
    """
    if ":" in str(name_or_path) and not Path(name_or_path).is_dir():
        load_bundle(name_or_path, allow_code)  # the trial of somebody else's network; refuses in one sentence
        note = "The trial of somebody else's network found nothing; it carries no reference answers."
        return Diagnosis(str(name_or_path), "model", (), len(DEPLOYMENT), (note,))
    bundle, broken = open_anyway(name_or_path, allow_code)
    stored = read_reference(bundle.folder)
    notes = [f"Seal: {problem}." for problem in broken]
    try:
        classifier = bundle.classifier().to(torch.device(place))
    except SpeechXAIError as error:
        found = [_suspicion("weights", SEEN, str(error))]
        return Diagnosis(str(name_or_path), "model", ranked(found, DEPLOYMENT), len(DEPLOYMENT), tuple(notes))
    if stored is None:
        notes.append(
            "This model carries no reference answers, so nobody knows what it said when it was written: only its seal,"
            " its libraries and its network are looked at. --remember writes today's answers for later."
        )
        return _without_reference(str(name_or_path), bundle, classifier, broken, notes, script)
    folder = bundle.folder / REFERENCE_FOLDER
    if script is not None:
        return _of_script(str(name_or_path), bundle, classifier, stored, script, notes)
    found = list(_compared(bundle, classifier, stored, observe(classifier, folder, bundle.config.audio.model_dump())))
    notes.append(
        f"{len(SOUNDS)} reference recordings heard again, {len(STAGES)} stages compared (answers {stored['when']})."
    )
    changed = library_words(stored["libraries"])
    if changed and not found:
        notes.append(f"Other libraries, without an effect: {'; '.join(changed)}.")
    return Diagnosis(str(name_or_path), "model", ranked(found, DEPLOYMENT), len(DEPLOYMENT), tuple(notes))


def _compared(
    bundle: Bundle, classifier: Classifier, stored: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[Suspicion]:
    config = bundle.config
    settings = settings_of(classifier, config.audio.model_dump(), config.architecture, config.options)
    settings["device"] = stored["settings"]["device"]  # asked for, and judged by what it computes
    changed = _changed(stored["settings"], settings)
    differences = stage_differences(stored["sounds"], now)
    first = next(iter(differences), "")
    said = f" {_say(first, differences[first])}" if first else ""
    by_settings = list(_by_settings(changed, first))
    others = _by_weights(stored["tensors"], tensors_of(own_weights(classifier)))
    yield from (replace(each, evidence=f"{each.evidence}{said}.".replace("..", ".")) for each in by_settings)
    if others:
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        yield _suspicion("weights", SEEN, f"Tensors of the weights are others: {shown}.{said}")
    if by_settings or others or not differences:
        return
    words = library_words(stored["libraries"])
    yield from _by_stage(differences, f" (libraries: {'; '.join(words)})" if words else "", stored["sounds"], now)


def _without_reference(
    target: str, bundle: Bundle, classifier: Classifier, broken: Sequence[str], notes: list[str], script: Any
) -> Diagnosis:
    """What can be said of a model of earlier versions: its seal, and a trial of its network."""
    from speechxai.classifiers.bundle import version_differences
    from speechxai.classifiers.network import check

    if script is not None:
        raise SpeechXAIError(
            f"{target}: there are no reference recordings to ask the script about. Write them: speechxai doctor"
            f" {target} --remember."
        )
    found = []
    if any("weights" in problem for problem in broken):
        found.append(_suspicion("weights", FITS, broken[0]))
    elif broken and "no seal" not in broken[0]:
        found.append(
            _suspicion("label_order", LIKELY, f"{broken[0]}, and which one nobody can say without a reference")
        )
    problem = check(classifier).problem
    if problem:
        found.append(_suspicion("weights", LIKELY, problem))
    other = version_differences(bundle.config.libraries)
    if other:
        notes.append(f"Other libraries than at training: {'; '.join(other)}.")
    return Diagnosis(target, "model", ranked(found, DEPLOYMENT), len(DEPLOYMENT), tuple(notes))


def cannot_be_right(bundle: Bundle, answers: Sequence[Sequence[float]]) -> str:
    """What shows that a model's answers cannot be right, a sentence that names the doctor; "" where nothing does.

    Args:
        bundle: whose network for new speakers has answered.
        answers: probabilities (C,) of several recordings.
    """
    ask = f"See 'speechxai doctor {bundle.folder if bundle.folder.is_dir() else bundle.name}'."
    values = np.asarray(answers, dtype=np.float64)
    if len(values) >= 3 and float(np.ptp(values, axis=0).max()) < CONSTANT:
        return f"The model answers the same to all {len(values)} recordings, which cannot be right. {ask}"
    if not bundle.folder.is_dir() or bundle.unread_bytes():
        return ""
    try:
        stored = read_reference(bundle.folder)
    except SpeechXAIError:
        return f"The model's reference answers are damaged. {ask}"
    if stored is None or "answer" not in stored["sounds"]["offset"]:
        return ""
    classifier, audio = bundle.classifier(), bundle.config.audio.model_dump()
    now = observe(classifier, bundle.folder / REFERENCE_FOLDER, audio, ("offset",))
    then = {"offset": stored["sounds"]["offset"]}
    if stage_differences(then, now) or list(bundle.config.classes) != stored["settings"]["classes"]:
        return (
            "The model answers its own reference recording otherwise than when it was written, so its answers cannot be"
            f" right. {ask}"
        )
    return ""


# Somebody's own program in place of this library.
def open_script(name: str) -> Callable[[str], Any]:
    """Return the function "module:function". Raises SpeechXAIError where there is none."""
    module, _, function = name.partition(":")
    look_in()
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise SpeechXAIError(
            f"--script {name}: cannot be opened ({told(error)}). Write module:function; the function takes the path of"
            " a file and returns the probabilities or logits of the model's classes."
        ) from error
    return found  # type: ignore[no-any-return]


def _log_shares(values: Array) -> Array:
    """Logits or probabilities (C,), or one probability of the second of two, to log probabilities (C,)."""
    v = np.asarray(values, dtype=np.float64).reshape(-1)
    if len(v) == 1:
        v = np.array([1 - v[0], v[0]]) if 0 <= v[0] <= 1 else np.array([-v[0] / 2, v[0] / 2])
    if (v >= 0).all() and abs(v.sum() - 1) < 0.02:
        v = np.log(np.maximum(v, 1e-12))
    return np.asarray(v - np.log(np.exp(v - v.max()).sum()) - v.max())


def _distance(a: Sequence[Array], b: Sequence[Array]) -> float:
    """Mean over recordings of the largest difference of two log probabilities, of each at most 5 nats."""
    if any(x.shape != y.shape or not np.isfinite(y).all() for x, y in zip(a, b, strict=True)):
        return float("inf")
    return float(np.mean([np.minimum(np.abs(x - y), 5).max() for x, y in zip(a, b, strict=True)]))


def _asked(ask: Callable[[str], Any], paths: Sequence[Path]) -> list[Array]:
    """Log probabilities of a program for every file. Raises SpeechXAIError naming the file where it fails."""
    found = []
    for path in paths:
        try:
            found.append(_log_shares(ask(str(path))))
        except Exception as error:
            raise SpeechXAIError(f"{path}: the script fails on this reference recording: {told(error)}") from error
    return found


def _of_script(
    target: str,
    bundle: Bundle,
    classifier: Classifier,
    stored: Mapping[str, Any],
    script: str | Callable[[str], Any],
    notes: list[str],
) -> Diagnosis:
    """Find the way of hearing whose answers are those of a program."""
    ask = open_script(script) if isinstance(script, str) else script
    folder = bundle.folder / REFERENCE_FOLDER
    paths = [folder / f"{name}.wav" for name in SOUNDS if "answer" in stored["sounds"].get(name, {})]
    given = _asked(ask, paths)
    unsteady = _distance(given, _asked(ask, paths))
    own = [_log_shares_of(stored["sounds"][path.stem]["answer"]["logits"]) for path in paths]
    off = _distance(own, given)
    notes.append(
        f"The script's answers to {len(paths)} reference recordings lie {off:.4f} nats from the model's on average."
    )
    if unsteady > ROUNDED:
        said = f"Two calls with the same file differ by {unsteady:.3f} nats on average: dropout or another random part"
        found = [_suspicion("training_mode", SEEN, said)]
        return Diagnosis(target, "model", ranked(found, DEPLOYMENT), len(DEPLOYMENT), tuple(notes))
    if off < ROUNDED:
        return Diagnosis(target, "model", (), len(DEPLOYMENT), tuple(notes))
    base, tried = Way.of(bundle), []
    for name in DEPLOYMENT:
        for way in DEPLOYMENT[name](base):
            answers = []
            with contextlib.suppress(Exception):  # a way that the network cannot hear is not the script's
                answers = [_log_shares_of(answer_of(way, classifier, path)) for path in paths]
            moved = _distance(own, answers) if answers else 0.0
            if moved > ROUNDED / 4:
                tried.append((_distance(answers, given), name, way.words))
    near: dict[str, Suspicion] = {}
    for left, name, words in sorted(tried):
        explained = 1 - left / off
        if name in near or explained <= 0.2:
            continue
        close = left < max(NEAR * off, ROUNDED)
        strength = (FITS + 0.2 * explained) if close else LEFT * explained
        said = f"The script answers as this model does where {words}" if close else f"Nearest, not the same: {words}"
        near[name] = _suspicion(name, strength, f"{said} ({100 * explained:.1f} % of the difference explained)")
    if not near:
        near["weights"] = _suspicion(
            "weights", LEFT, "No single way of hearing gives the script's answers: another network, or several faults"
        )
    return Diagnosis(target, "model", ranked(near.values(), DEPLOYMENT), len(DEPLOYMENT), tuple(notes))


def _log_shares_of(logits: Sequence[float] | Array) -> Array:
    v = np.asarray(logits, dtype=np.float64)
    return np.asarray(v - np.log(np.exp(v - v.max()).sum()) - v.max())
