"""Praat's measures through parselmouth, an optional package under GPL-3: the second opinion on our own measures."""

from __future__ import annotations

from speechxai.acoustics_pitch import CEILING_HZ, FLOOR_HZ, FloatArray
from speechxai.errors import SpeechXAIError


def praat_values(waveform: FloatArray, sample_rate: int) -> dict[str, float]:
    """Return Praat's measures of a waveform (N,) with Praat's standard settings and our pitch range; NaN if undefined.

    Raises:
        SpeechXAIError: parselmouth is not installed.
    """
    try:
        import parselmouth
        from parselmouth.praat import call
    except ImportError as error:
        raise SpeechXAIError(
            'Measures by Praat need the package parselmouth: pip install "speechxai[clinical]". '
            "Without it, speechxai.acoustics.measures gives our own implementations."
        ) from error
    names = ("f0_mean_hz", "f0_sd_semitones", "jitter_local_percent", "jitter_ppq5_percent", "shimmer_local_percent",
             "shimmer_local_db", "shimmer_apq11_percent", "hnr_db", "cpps_db", "f1_hz", "f2_hz")  # fmt: skip
    values = dict.fromkeys(names, float("nan"))
    sound = parselmouth.Sound(waveform, sampling_frequency=sample_rate)
    # Praat refuses recordings shorter than its longest window.
    if sound.duration < 0.15 or abs(waveform).max() < 1e-6:
        return values
    pitch = call(sound, "To Pitch", 0.0, FLOOR_HZ, CEILING_HZ)
    points = call([sound, pitch], "To PointProcess (cc)")
    limits = (0, 0, 0.0001, 0.02, 1.3)
    values["f0_mean_hz"] = call(pitch, "Get mean", 0, 0, "Hertz")
    values["f0_sd_semitones"] = call(pitch, "Get standard deviation", 0, 0, "semitones")
    values["jitter_local_percent"] = 100 * call(points, "Get jitter (local)", *limits)
    values["jitter_ppq5_percent"] = 100 * call(points, "Get jitter (ppq5)", *limits)
    values["shimmer_local_percent"] = 100 * call([sound, points], "Get shimmer (local)", *limits, 1.6)
    values["shimmer_local_db"] = call([sound, points], "Get shimmer (local_dB)", *limits, 1.6)
    values["shimmer_apq11_percent"] = 100 * call([sound, points], "Get shimmer (apq11)", *limits, 1.6)
    values["hnr_db"] = call(call(sound, "To Harmonicity (cc)", 0.01, FLOOR_HZ, 0.1, 1.0), "Get mean", 0, 0)
    cepstrogram = call(sound, "To PowerCepstrogram", 60.0, 0.002, 5000.0, 50.0)
    values["cpps_db"] = call(
        cepstrogram, "Get CPPS", "no", 0.02, 0.0005, 60.0, 330.0, 0.05, "Parabolic", 0.001, 0.05, "Straight", "Robust"
    )
    highest = min(5000.0, sample_rate / 2)
    formants = call(sound, "To Formant (burg)", 0.0, max(2.0, round(highest / 1000)), highest, 0.025, 50.0)
    values["f1_hz"] = call(formants, "Get quantile", 1, 0, 0, "Hertz", 0.5)
    values["f2_hz"] = call(formants, "Get quantile", 2, 0, 0, "Hertz", 0.5)
    return values
