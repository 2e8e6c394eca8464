"""What can be measured about the recording itself, before anything is said about the voice, and whether it is good
enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from speechxai.errors import SpeechXAIError
from speechxai.signal.audio import MIN_RATE_HZ, Mixing
from speechxai.types import Array

TOO_SHORT_S = 0.5
"""Shorter recordings are no base for an answer: half a second is one syllable."""

SHORT_S = 1.5
"""A low voice of 80 Hz has 120 periods in 1.5 s, and jitter and shimmer need about 100; the shortest recording that the
bundled models learned from lasts 1.5 s."""

SILENT_DBFS = -65.0
"""Below this lies the noise of a usual microphone and its amplifier."""

QUIET_DBFS = -45.0
"""Room noise at -60 dB, usual for a telephone or a laptop, leaves a voice of this level the 15 dB of NOISY_DB. Calls of
MDVR-KCL, which are quiet, have -33 to -41 dB."""

CLIPPED_SHARE = 0.001
"""One sample in a thousand: a burst or two at full scale stay below, every sustained overload is above."""

NOISY_DB = 15.0
"""Under 15 dB noise fills the gaps between harmonics: HNR and the pauses measure the room."""

SILENCE_SHARE = 0.6
"""Read and spontaneous speech pauses for 10 to 30 % of the time; with 60 % the recorder was left running."""

BAND_HZ = 4_500.0
"""The telephone ends at 3.4 to 4 kHz, and /s/ begins at about 4 kHz."""

OFFSET = 0.02
"""A shift by 2 % of full scale lies 34 dB under it: level and pauses of a quiet voice would measure the sound card."""

LOST_SHARE = 0.05
"""Of the cells of time and frequency. Unrelated channels lose under 1 %, two microphones in a reverberant room 4 %, the
comb of two that stand at different distances 8 to 20 %."""

UNLIKE_DB = -20.0
"""A channel 20 dB under another holds no voice of its own: a dead microphone, or one for somebody else."""

LIKENESS = 0.45
"""Channels less alike than this hear two sources. Two voices at once are .1 to .35 alike, two that take turns less, one
voice in two places of a room .55 and more, be it far from both."""

VOICE_SHARE = 0.15
"""With a voice in less of the time the rest outweighs it in every mean over the recording."""

State = Literal["good", "caution", "stop"]
"""Of a check: nothing to say, read the answer with care, or give no answer."""

_SILENCE_DB = 40.0
_TINY = 1e-20
_STEP_HZ = 250.0
_STEADY_DB = 10 * 0.5772156649 / np.log(10)
_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100)
"""At which recordings are made and from which they are raised."""


@dataclass(frozen=True)
class Quality:
    """Technical quality of one recording.

    Args:
        duration_s: length, s.
        peak: largest absolute sample, full scale is 1.
        rms_dbfs: level around the mean sample, dB; a full-scale square wave is 0.
        clipping_share: share of samples in flat runs at the signal's own extremes, in [0, 1].
        silence_share: share of 25 ms frames at least 40 dB under the loudest, in [0, 1].
        snr_db: mean power of the rest over that of the quietest tenth of frames, dB; NaN where the recording has no
            pause at least 10 dB under its typical level, as in a sustained vowel.
        bandwidth_hz: highest frequency whose power lies less than 70 dB under the strongest, at least 6 dB above the
            noise floor, and is no image of a lower sample rate.
        dc_offset: mean sample.
    """

    duration_s: float
    peak: float
    rms_dbfs: float
    clipping_share: float
    silence_share: float
    snr_db: float
    bandwidth_hz: float
    dc_offset: float


def quality(waveform: Tensor | Array, sample_rate: int) -> Quality:
    """Measure the technical quality of a waveform (N,), best at its original rate, level and offset.

    The mean sample is no sound: everything but the peak and the offset itself is measured around it.

    Clipping is a flat run: at least 3 samples (0.15 ms at higher rates), all beyond 0.99 of the signal's own extreme,
    that differ by at most 1e-4 of it. So a signal scaled to its peak does not count, and one that was clipped before it
    was scaled down or shifted does. Resampling and lossy codecs round flat runs off and hide clipping.

    Raises:
        SpeechXAIError: a waveform that is not (N,), empty or not finite.
    """
    samples = np.asarray(
        waveform.detach().cpu().numpy() if isinstance(waveform, Tensor) else waveform, dtype=np.float64
    )
    if samples.ndim != 1 or samples.size == 0 or not np.isfinite(samples).all():
        raise SpeechXAIError(
            f"Quality is measured on a finite waveform of shape (N,). Got shape {samples.shape} instead."
        )
    sound = samples - samples.mean()
    frame_db = _frame_db(sound, sample_rate)
    return Quality(
        duration_s=samples.size / sample_rate,
        peak=float(np.abs(samples).max()),
        rms_dbfs=_db(float(np.mean(sound**2))),
        clipping_share=_clipping_share(sound, sample_rate),
        silence_share=float(np.mean(frame_db <= frame_db.max() - _SILENCE_DB)) if frame_db.max() > _db(0.0) else 1.0,
        snr_db=_snr_db(frame_db),
        bandwidth_hz=bandwidth_hz(sound, sample_rate),
        dc_offset=float(samples.mean()),
    )


@dataclass(frozen=True)
class Check:
    """One check of a recording.

    Args:
        name: what was looked at: "Length", "Level", ...
        state: "good", "caution" or "stop"; the last keeps the model from answering.
        word: what was found, in a word: "fine", "short", "quiet", ...
        text: the number and what to do, in words, without a full stop.
        value: what was measured, in the unit of the field of `Quality`; NaN where there was nothing to measure.
    """

    name: str
    state: State
    word: str
    text: str
    value: float

    def __str__(self) -> str:
        return f"{self.word}: {self.text}"


def checks(
    measured: Quality,
    sample_rate_hz: int | None = None,
    model_rate_hz: int | None = None,
    speech_share: float | None = None,
    mixing: Mixing | None = None,
) -> list[Check]:
    """Judge a recording by the thresholds of this module: the one list for command line, report and app.

    Args:
        measured: from `quality`, best at the file's own rate and level.
        sample_rate_hz: of the file; None leaves its check out.
        model_rate_hz: what the model was trained at; None compares with nothing.
        speech_share: share of the time in which a voice was found, in [0, 1]; NaN where nothing could be checked, None
            leaves the check out.
        mixing: what averaging its channels did (`read_audio`'s metadata); None leaves the check out.

    Returns:
        One `Check` a name, in the order of reading.
    """
    found = [_length(measured.duration_s), _level(measured.rms_dbfs), _clipping(measured.clipping_share)]
    found += [_noise(measured.snr_db), _silence(measured.silence_share), _band(measured.bandwidth_hz)]
    found.append(_offset(measured.dc_offset))
    if mixing is not None:
        found.append(_channels(mixing))
    if sample_rate_hz is not None:
        found.append(_rate(sample_rate_hz, model_rate_hz))
    if speech_share is not None:
        found.append(_voice(speech_share))
    return found


def concerns(found: Sequence[Check]) -> list[Check]:
    """The checks that are not good, those that stop first."""
    return sorted((check for check in found if check.state != "good"), key=lambda check: check.state != "stop")


def usable(found: Sequence[Check]) -> bool:
    """Whether the model may answer: no check says stop."""
    return all(check.state != "stop" for check in found)


def _length(duration_s: float) -> Check:
    if duration_s < TOO_SHORT_S:
        return Check("Length", "stop", "too short", f"{duration_s:.2f} s; record 3 s or more", duration_s)
    if duration_s < SHORT_S:
        text = f"{duration_s:.2f} s; the answer is shaky under {SHORT_S:g} s, record 3 s or more"
        return Check("Length", "caution", "short", text, duration_s)
    return Check("Length", "good", "fine", f"{duration_s:.1f} s", duration_s)


def _level(rms_dbfs: float) -> Check:
    if rms_dbfs < SILENT_DBFS:
        text = f"{-rms_dbfs:.0f} dB below full scale; check the microphone"
        return Check("Level", "stop", "close to silent", text, rms_dbfs)
    if rms_dbfs < QUIET_DBFS:
        text = f"{-rms_dbfs:.0f} dB below full scale; move closer to the microphone"
        return Check("Level", "caution", "quiet", text, rms_dbfs)
    return Check("Level", "good", "fine", f"{-rms_dbfs:.0f} dB below full scale", rms_dbfs)


def _clipping(share: float) -> Check:
    if share > CLIPPED_SHARE:
        text = f"{100 * share:.1f} % of the samples are cut off at the extremes; record at a lower level"
        return Check("Clipping", "caution", "clipped", text, share)
    return Check("Clipping", "good", "fine", "none", share)


def _noise(snr_db: float) -> Check:
    if np.isnan(snr_db):
        return Check("Noise", "good", "fine", "no pause to measure it in, as in a held vowel", snr_db)
    if snr_db < NOISY_DB:
        text = f"speech is only {snr_db:.0f} dB above the background; record in a quiet room"
        return Check("Noise", "caution", "noisy", text, snr_db)
    return Check("Noise", "good", "fine", f"speech is {snr_db:.0f} dB above the background", snr_db)


def _silence(share: float) -> Check:
    if share > SILENCE_SHARE:
        text = f"{100 * share:.0f} % of the time; cut the pauses at both ends"
        return Check("Silence", "caution", "mostly silence", text, share)
    return Check("Silence", "good", "fine", f"{100 * share:.0f} % of the time", share)


def _band(bandwidth_hz: float) -> Check:
    if bandwidth_hz < BAND_HZ:
        text = f"nothing above {bandwidth_hz:.0f} Hz, as on the telephone; fricatives cannot be judged"
        return Check("Band", "caution", "narrow band", text, bandwidth_hz)
    return Check("Band", "good", "fine", f"up to {bandwidth_hz:.0f} Hz", bandwidth_hz)


def _offset(dc_offset: float) -> Check:
    if abs(dc_offset) > OFFSET:
        text = f"the waveform is shifted by {dc_offset:+.3f} of full scale; check the sound card"
        return Check("Offset", "caution", "offset", text, dc_offset)
    return Check("Offset", "good", "fine", "none", dc_offset)


def _channels(mixing: Mixing) -> Check:
    lost = max(mixing["lost_energy"], mixing["lost_cells"])
    choose = f"choose one: --channel {mixing['loudest']}"
    if lost > LOST_SHARE:
        text = f"averaging the channels removes {100 * lost:.0f} % of the sound, one is upside down or late; {choose}"
        return Check("Channels", "caution", "channels cancel", text, lost)
    if mixing["quietest_db"] < UNLIKE_DB:
        text = f"one is {-mixing['quietest_db']:.0f} dB under the loudest and adds nothing but its noise; {choose}"
        return Check("Channels", "caution", "unlike channels", text, lost)
    if mixing.get("likeness", 1.0) < LIKENESS:
        text = (
            f"the channels hold different sounds ({100 * mixing['likeness']:.0f} % alike), as of two people or places;"
            f" {choose}"
        )
        return Check("Channels", "caution", "unlike channels", text, mixing["likeness"])
    return Check("Channels", "good", "fine", "averaged", lost)


def _rate(rate_hz: int, model_rate_hz: int | None) -> Check:
    if rate_hz < MIN_RATE_HZ:
        text = f"{rate_hz} Hz is under {MIN_RATE_HZ} Hz; record again at 16 kHz or more"
        return Check("Sample rate", "stop", "low sample rate", text, rate_hz)
    if model_rate_hz is not None and rate_hz < model_rate_hz:
        text = f"{rate_hz / 1000:g} kHz, under the model's {model_rate_hz / 1000:g} kHz: high frequencies are missing"
        return Check("Sample rate", "caution", "low sample rate", text, rate_hz)
    return Check("Sample rate", "good", "fine", f"{rate_hz / 1000:g} kHz", rate_hz)


def _voice(share: float) -> Check:
    if np.isnan(share):
        return Check("Voice", "caution", "voice not checked", "the detector is not installed", share)
    if share <= 0:
        return Check("Voice", "stop", "no voice", "none was found; the model would answer to noise", share)
    if share < VOICE_SHARE:
        text = f"a voice in only {100 * share:.0f} % of the time; cut the rest off"
        return Check("Voice", "caution", "little voice", text, share)
    return Check("Voice", "good", "fine", f"a voice in {100 * share:.0f} % of the time", share)


def _db(power: float) -> float:
    return float(10 * np.log10(max(power, _TINY)))


def _frame_db(samples: Array, sample_rate: int) -> Array:
    """Power of 25 ms frames every 10 ms, dB; one frame where the signal is shorter."""
    length, hop = max(1, round(0.025 * sample_rate)), max(1, round(0.010 * sample_rate))
    if samples.size <= length:
        return np.asarray([_db(float(np.mean(samples**2)))])
    total = np.concatenate([[0.0], np.cumsum(samples**2)])
    starts = np.arange(0, samples.size - length + 1, hop)
    # Differences of a running sum leave a rounding residue where the signal is exactly 0.
    power = (total[starts + length] - total[starts]) / length
    power[power < 1e-13 * total[-1] / samples.size] = 0.0
    return np.asarray(10 * np.log10(np.maximum(power, _TINY)))


def _clipping_share(samples: Array, sample_rate: int) -> float:
    least = max(3, round(0.00015 * sample_rate))
    clipped = 0
    for signal in (samples, -samples):
        extreme = float(signal.max())
        if extreme <= 0:
            continue
        high = signal >= 0.99 * extreme
        flat = np.abs(np.diff(signal)) <= 1e-4 * extreme
        # A run of k samples has k - 1 flat steps between high neighbors.
        steps = np.concatenate([[False], high[1:] & high[:-1] & flat, [False]]).astype(np.int8)
        begins, ends = np.flatnonzero(np.diff(steps) == 1), np.flatnonzero(np.diff(steps) == -1)
        runs = ends - begins + 1
        clipped += int(runs[runs >= least].sum())
    return clipped / samples.size


def _snr_db(frame_db: Array) -> float:
    quiet_db = float(np.quantile(frame_db, 0.1))
    quiet = frame_db <= quiet_db
    if frame_db.size < 10 or quiet.all() or float(np.median(frame_db[~quiet])) - quiet_db < 10.0:
        return float("nan")
    noise = float(np.mean(10 ** (frame_db[quiet] / 10)))
    speech = float(np.mean(10 ** (frame_db[~quiet] / 10)))
    # Pauses of exactly 0 come from an editor, not a microphone: 100 dB is as much as 16 bits can mean.
    return min(100.0, _db(speech - noise) - _db(noise)) if speech > noise else float("nan")


def bandwidth_hz(samples: Array, sample_rate: int) -> float:
    """Highest frequency, Hz, that is heard: under 70 dB below the strongest, above the noise floor, and no image.

    Levels of at most 300 frames of 40 ms in steps of 250 Hz. Not told: rounding without dither of a voice of a few
    steps (it follows the voice and is no steady floor), and images of exactly periodic sounds, whose harmonics repeat
    anyway. A voice whose upper half lies under a steady noise is read up to there.
    """
    from scipy.signal.windows import blackmanharris

    length = min(samples.size, 2 * round(sample_rate / 50))
    hop = max(1, length // 2)
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]
    energy = np.einsum("ij,ij->i", frames, frames)
    loud = np.flatnonzero(energy > energy.max() * 10 ** (-_SILENCE_DB / 10))
    if not loud.size:
        return 0.0
    loud = loud[np.linspace(0, loud.size - 1, min(loud.size, 300)).round().astype(int)]
    # A Hann window leaks above -70 dB over seven bins; this one stays below within four.
    cut = frames[loud] * blackmanharris(length, sym=False)
    spectra = np.fft.rfft(cut, axis=1)
    power = np.abs(spectra) ** 2
    power[:, :2] = 0  # the mean sample is no sound
    mean_db = _decibel(power.mean(axis=0))
    per_step = max(1, round(_STEP_HZ * length / sample_rate))
    n_steps = mean_db.size // per_step
    if power.max() <= 0 or not n_steps:
        return 0.0

    def steps(values: Array) -> Array:
        return np.asarray(values[: n_steps * per_step].reshape(n_steps, per_step).mean(axis=1))

    level_db = _decibel(steps(power.mean(axis=0)))
    least_db = float(mean_db.max()) - 70.0
    if (level_db > least_db).any():
        reaches = int(np.flatnonzero(level_db > least_db)[-1]) + 1
        unsteady_db = steps(_decibel(power).mean(axis=0) - mean_db)
        floor_db = _floor_db(level_db[:reaches], unsteady_db[:reaches], loud.size * per_step)
        if (level_db > floor_db + 6).any():  # else the noise is all there is
            least_db = max(least_db, floor_db + 6)
    above = level_db > least_db
    limit = _image_from(cut, loud * hop, sample_rate, spectra, above, steps)
    if not above[:limit].any():
        return 0.0
    # The last step may end within its neighbor, but not within an image.
    last = int(np.flatnonzero(above[:limit])[-1]) + 2
    bins = mean_db[: (last if limit == n_steps else min(last, limit)) * per_step]
    return float(np.flatnonzero(bins > least_db)[-1] * sample_rate / length)


def _decibel(power: Array) -> Array:
    return np.asarray(10 * np.log10(np.maximum(power, 1e-30)))


def _floor_db(level_db: Array, unsteady_db: Array, n_values: int) -> float:
    """Level of the noise floor, dB; minus infinity where none shows.

    A floor is the same everywhere and at all times: at least 2 kHz of steps near the lowest fifth of the levels, within
    1.5 dB, whose power is that of steady noise: it is exponentially distributed, so the mean of its decibels lies
    10 gamma / ln 10 = 2.51 dB under the decibels of its mean. Voices lie further, since they come and go.
    """
    near = np.abs(level_db - np.quantile(level_db, 0.2)) < 1.5
    steady = np.abs(unsteady_db + _STEADY_DB) < max(1.0, 18 / np.sqrt(n_values / 2))
    flat = level_db[near & steady]
    return float(flat.mean()) if flat.size * _STEP_HZ >= 2_000 else -np.inf


def _image_from(
    cut: Array,
    starts: Array,
    sample_rate: int,
    spectra: Array,
    above: Array,
    steps: Callable[[Array], Array],
) -> int:
    """First step that holds images instead of sound, or the number of steps.

    A signal that was sampled at a lower rate r and interpolated without a filter repeats itself around r: what stands
    at f is what stands at f - r, with one phase over all frames. Unrelated sounds have none.
    """
    times = (starts[:, None] + np.arange(cut.shape[1])) / sample_rate
    for rate in _RATES_HZ:
        first = int(np.ceil(rate / 2 / _STEP_HZ))
        if rate >= sample_rate or not above[first:].any() or len(cut) < 16:
            continue
        shifted = np.fft.fft(cut * np.exp(2j * np.pi * ((rate * times) % 1)), axis=1)[:, : spectra.shape[1]]
        product = spectra * shifted.conj()
        weight = np.sqrt(np.abs(product))
        common = np.abs((product / np.maximum(weight, 1e-30)).sum(axis=0)) ** 2
        alike = steps(common / np.maximum(weight.sum(axis=0) ** 2, 1e-300))
        if alike[first:][above[first:]].mean() >= 0.2:
            return first
    return above.size
