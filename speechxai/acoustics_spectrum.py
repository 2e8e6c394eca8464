"""Spectral and cepstral measures of voiced frames: prominence, tilt, bands, formants."""

from __future__ import annotations

from itertools import pairwise
from math import gcd

import numpy as np

from speechxai.acoustics_pitch import FloatArray, centered_frames

BANDS_HZ = ((125.0, 250.0), (250.0, 500.0), (500.0, 1000.0), (1000.0, 2000.0), (2000.0, 4000.0), (4000.0, 8000.0))
"""Octave bands, Hz, of the band level measures."""

_FLOOR_DB = -100.0


def resampled(waveform: FloatArray, sample_rate: int, new_rate: int) -> FloatArray:
    """Return the waveform (N,) at another sample rate, Hz (polyphase filter)."""
    if sample_rate == new_rate:
        return waveform
    from scipy.signal import resample_poly  # its import takes a second

    common = gcd(sample_rate, new_rate)
    return np.asarray(resample_poly(waveform, new_rate // common, sample_rate // common), dtype=np.float64)


def cepstral_prominence_db(waveform: FloatArray, sample_rate: int) -> float:
    """Return the smoothed cepstral peak prominence (CPPS), dB: cepstral peak above the cepstrum's trend line.

    Power cepstra of 100 ms Gaussian frames every 5 ms of the signal below 5 kHz, averaged over 20 ms in time and 0.5 ms in
    quefrency; peak between 60 and 330 Hz; line fitted from 1 to 50 ms; mean over frames. NaN below 0.1 s.
    Source: Hillenbrand and Houde 1996 (hillenbrand1996acoustic); settings as in Maryn and Weenink 2015 (maryn2015objective).
    """
    from scipy.ndimage import uniform_filter1d

    # An 8 kHz recording is not brought to 10 kHz: the empty band would put its own ripple into the cepstrum.
    rate = min(10_000, sample_rate)
    signal = resampled(waveform, sample_rate, rate)
    if signal.shape[0] < rate // 10:
        return float("nan")
    signal = np.append(signal[0], signal[1:] - np.exp(-2 * np.pi * 50 / rate) * signal[:-1])
    length, hop, n_fft = rate // 10, rate // 200, 1024
    frames = np.lib.stride_tricks.sliding_window_view(signal, length)[::hop]
    grid = np.linspace(-1, 1, length)
    window = np.exp(-12 * grid**2)
    # A frame of digital silence has no cepstrum, and its floor would outweigh all others.
    frames = frames[np.sqrt((frames**2).mean(axis=1)) > 1e-7]
    if frames.shape[0] == 0:
        return float("nan")
    spectrum = np.abs(np.fft.rfft(frames * window, n_fft, axis=1)) ** 2
    log_spectrum = 10 * np.log10(spectrum + 1e-12)
    cepstrum = np.fft.irfft(log_spectrum, n_fft, axis=1)[:, : n_fft // 2] ** 2
    cepstrum = uniform_filter1d(cepstrum, 4, axis=0, mode="nearest")
    cepstrum = uniform_filter1d(cepstrum, max(1, round(0.0005 * rate)), axis=1, mode="nearest")
    level = 10 * np.log10(cepstrum + 1e-12)
    quefrency = np.arange(n_fft // 2) / rate
    line = slice(int(0.001 * rate), int(0.05 * rate))
    slope, intercept = np.polyfit(quefrency[line], level[:, line].T, 1)
    first, last = int(rate / 330), int(rate / 60) + 1
    best = first + level[:, first:last].argmax(axis=1)
    peak = np.take_along_axis(level, best[:, None], axis=1)[:, 0]
    return float(np.mean(peak - (slope * quefrency[best] + intercept)))


def mean_power(waveform: FloatArray, sample_rate: int, centers: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return frequencies (F,), Hz, and the mean power spectrum (F,) of 32 ms Hann frames centered at `centers` (samples)."""
    length = max(16, int(0.032 * sample_rate))
    starts = np.round(centers).astype(np.int64)
    padded = np.concatenate([np.zeros(length // 2), waveform, np.zeros(length)])
    total = np.zeros(length // 2 + 1)
    for begin in range(0, starts.shape[0], 1024):
        index = starts[begin : begin + 1024, None] + np.arange(length)[None, :]
        total += (np.abs(np.fft.rfft(padded[index] * np.hanning(length), axis=1)) ** 2).sum(axis=0)
    return np.asarray(np.fft.rfftfreq(length, 1 / sample_rate), dtype=np.float64), total / max(1, starts.shape[0])


def spectral_measures(frequency_hz: FloatArray, power: FloatArray) -> dict[str, float]:
    """Return band levels, tilt and centroid of a mean power spectrum (F,).

    A band that the sample rate cannot hold at least half is NaN; levels are dB relative to 50 Hz to Nyquist, at least
    -100. Tilt is the regression of third-octave levels on octaves from 200 to 4000 Hz.
    """
    audible = frequency_hz >= 50
    total = float(power[audible].sum())
    values: dict[str, float] = {}
    nyquist = float(frequency_hz[-1])
    for low, high in BANDS_HZ:
        share = float(power[(frequency_hz >= low) & (frequency_hz < high)].sum()) / max(total, 1e-20)
        inside = (min(high, nyquist) - low) / (high - low) >= 0.5 and total > 1e-20
        values[f"band_{low:.0f}_{high:.0f}_db"] = (
            max(_FLOOR_DB, float(10 * np.log10(share + 1e-20))) if inside else float("nan")
        )
    edges = 200 * 2 ** (np.arange(14) / 3)
    edges = edges[edges <= nyquist * 1.001]
    levels, octaves = [], []
    for low, high in pairwise(edges):
        inside_band = (frequency_hz >= low) & (frequency_hz < high)
        if inside_band.any():
            levels.append(10 * np.log10(float(power[inside_band].mean()) + 1e-20))
            octaves.append(np.log2(low))
    defined = len(levels) >= 6 and total > 1e-20
    values["spectral_tilt_db_per_octave"] = float(np.polyfit(octaves, levels, 1)[0]) if defined else float("nan")
    centroid = float((frequency_hz[audible] * power[audible]).sum()) / total if total > 1e-20 else float("nan")
    values["spectral_centroid_hz"] = centroid
    return values


def formants_hz(waveform: FloatArray, sample_rate: int, centers: FloatArray) -> FloatArray:
    """Return F1 and F2 (n, 2), Hz, of the frames centered at `centers` (samples); NaN where none was found.

    Roots of a linear prediction of order 10 below 5 kHz (order 8 for signals sampled at 8 kHz or less), 30 ms frames,
    pre-emphasis from 50 Hz; poles narrower than 2 kHz, at least 150 Hz away from both ends. Source: Makhoul 1975 (makhoul1975linear).
    """
    from scipy.linalg import solve_toeplitz

    rate = min(10_000, sample_rate)
    order = 10 if rate > 9_000 else 8
    signal = resampled(waveform, sample_rate, rate)
    signal = np.append(signal[0], signal[1:] - np.exp(-2 * np.pi * 50 / rate) * signal[:-1])
    length = int(0.03 * rate)
    padded = np.concatenate([np.zeros(length // 2), signal, np.zeros(length)])
    found = np.full((centers.shape[0], 2), np.nan)
    window = np.hamming(length)
    for row, center in enumerate(np.round(centers * rate / sample_rate).astype(np.int64)):
        frame = padded[center : center + length] * window
        correlation = np.correlate(frame, frame, "full")[length - 1 : length + order]
        if correlation[0] < 1e-9:
            continue
        correlation[0] *= 1 + 1e-6
        predictor = solve_toeplitz(correlation[:-1], correlation[1:])
        roots = np.roots(np.concatenate([[1.0], -predictor]))
        roots = roots[roots.imag > 0]
        frequency = np.angle(roots) * rate / (2 * np.pi)
        bandwidth = -np.log(np.maximum(np.abs(roots), 1e-9)) * rate / np.pi
        chosen = np.sort(frequency[(bandwidth < 2000) & (frequency > 150) & (frequency < rate / 2 - 150)])
        if chosen.shape[0] >= 2:
            found[row] = chosen[:2]
    return found


def modulation_depth(values: FloatArray, rate_hz: float, low_hz: float = 4.0, high_hz: float = 7.0) -> float:
    """Return the standard deviation of `values` (T,) within low_hz to high_hz, in their own unit; NaN below 0.5 s."""
    if values.shape[0] < max(8, int(0.5 * rate_hz)):
        return float("nan")
    time = np.arange(values.shape[0])
    flat = values - np.polyval(np.polyfit(time, values, 2), time)
    spectrum = np.fft.rfft(flat)
    frequency = np.fft.rfftfreq(values.shape[0], 1 / rate_hz)
    inside = (frequency >= low_hz) & (frequency <= high_hz)
    return float(np.sqrt(2 * np.sum(np.abs(spectrum[inside]) ** 2)) / values.shape[0])


def energy_db(waveform: FloatArray, sample_rate: int, hop_samples: int, n_frames: int) -> FloatArray:
    """Return the level (n_frames,), dB re full scale, of 25 ms Hann frames centered at t * hop_samples; at least -120."""
    length = max(2, int(0.025 * sample_rate)) | 1
    window = np.hanning(length + 2)[1:-1]
    frames = centered_frames(waveform**2, length, hop_samples, n_frames)
    return np.asarray(10 * np.log10(np.maximum(frames @ (window / window.sum()), 1e-12)), dtype=np.float64)
