"""What can be measured about the recording itself, before anything is said about the voice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from speechxai.errors import SpeechXAIError

Samples = np.ndarray[Any, np.dtype[np.float64]]

_SILENCE_DB = 40.0
_TINY = 1e-20


@dataclass(frozen=True)
class Quality:
    """Technical quality of one recording.

    Args:
        duration_s: length, s.
        peak: largest absolute sample, full scale is 1.
        rms_dbfs: level, dB; a full-scale square wave is 0.
        clipping_share: share of samples in flat runs at the signal's own extremes, in [0, 1].
        silence_share: share of 25 ms frames at least 40 dB under the loudest, in [0, 1].
        snr_db: mean power of the rest over that of the quietest tenth of frames, dB; NaN where the recording has no
            pause at least 10 dB under its typical level, as in a sustained vowel.
        bandwidth_hz: highest frequency whose mean power lies less than 70 dB under the strongest.
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


def quality(waveform: Tensor | Samples, sample_rate: int) -> Quality:
    """Measure the technical quality of a waveform (N,), best at its original rate and level.

    Clipping is a flat run: at least 3 samples (0.15 ms at higher rates), all beyond 0.99 of the signal's own extreme,
    that differ by at most 1e-4 of it. So a signal scaled to its peak does not count, and one that was clipped before it
    was scaled down does. Resampling and lossy codecs round flat runs off and hide clipping.

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
    frame_db = _frame_db(samples, sample_rate)
    return Quality(
        duration_s=samples.size / sample_rate,
        peak=float(np.abs(samples).max()),
        rms_dbfs=_db(float(np.mean(samples**2))),
        clipping_share=_clipping_share(samples, sample_rate),
        silence_share=float(np.mean(frame_db <= frame_db.max() - _SILENCE_DB)) if frame_db.max() > _db(0.0) else 1.0,
        snr_db=_snr_db(frame_db),
        bandwidth_hz=_bandwidth_hz(samples, sample_rate),
        dc_offset=float(samples.mean()),
    )


def warnings(measured: Quality) -> list[str]:
    """Say in words what may disturb a reading of this recording; an empty list where nothing does."""
    found = []
    if measured.duration_s < 1.0:
        found.append(f"short: {measured.duration_s:.2f} s; most measures need at least 1 s")
    if measured.clipping_share > 0.001:
        found.append(
            f"clipped: {100 * measured.clipping_share:.1f} % of the samples are cut off at the extremes; record at a"
            " lower level"
        )
    if measured.rms_dbfs < -50.0:
        found.append(f"very quiet: {measured.rms_dbfs:.0f} dB below full scale; move closer to the microphone")
    if measured.silence_share > 0.6:
        found.append(f"mostly silence: {100 * measured.silence_share:.0f} % of the time; cut the pauses at both ends")
    if measured.snr_db < 15.0:
        found.append(f"noisy: speech is only {measured.snr_db:.0f} dB above the background; record in a quiet room")
    if measured.bandwidth_hz < 4_500.0:
        found.append(
            f"narrow band: nothing above {measured.bandwidth_hz:.0f} Hz, as on the telephone; fricatives cannot be"
            " judged"
        )
    if abs(measured.dc_offset) > 0.02:
        found.append(
            f"offset: the waveform is shifted by {measured.dc_offset:+.3f} of full scale; check the sound card"
        )
    return found


def _db(power: float) -> float:
    return float(10 * np.log10(max(power, _TINY)))


def _frame_db(samples: Samples, sample_rate: int) -> Samples:
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


def _clipping_share(samples: Samples, sample_rate: int) -> float:
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


def _snr_db(frame_db: Samples) -> float:
    quiet_db = float(np.quantile(frame_db, 0.1))
    quiet = frame_db <= quiet_db
    if frame_db.size < 10 or quiet.all() or float(np.median(frame_db[~quiet])) - quiet_db < 10.0:
        return float("nan")
    noise = float(np.mean(10 ** (frame_db[quiet] / 10)))
    speech = float(np.mean(10 ** (frame_db[~quiet] / 10)))
    # Pauses of exactly 0 come from an editor, not a microphone: 100 dB is as much as 16 bits can mean.
    return min(100.0, _db(speech - noise) - _db(noise)) if speech > noise else float("nan")


def _bandwidth_hz(samples: Samples, sample_rate: int) -> float:
    from scipy.signal import welch

    # A Hann window leaks above -70 dB over seven bins; this one stays below within four.
    frequency_hz, power = welch(samples, sample_rate, window="blackmanharris", nperseg=min(1024, samples.size))
    if power.max() <= 0:
        return 0.0
    return float(frequency_hz[np.flatnonzero(power > power.max() * 1e-7)[-1]])
